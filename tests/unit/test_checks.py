"""What is refused, or remarked on, of bands that media share and of devices on their way."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import tiny_scenario

from nmoe_sim.checks import check, concerns
from nmoe_sim.errors import InputError

CELLS = {"kind": "multi_cell", "num_sites": 3, "num_devices": 3}
SIDELINKS = {"kind": "cell", "num_devices": 3, "sidelink_range_m": 500.0}
WIFI = {"radio.sharing": {"kind": "csma_ca"}, "radio.duplex": "half"}


@pytest.mark.parametrize("topology", [CELLS, {"kind": "disc", "num_devices": 3, "range_m": 500.0}])
def test_stations_that_listen_have_one_medium_a_band(topology: dict[str, Any]) -> None:
    apart = {"radio.reuse_factor": 3} if topology is CELLS else {"radio.sidelinks": "time_shared"}
    together = {"radio.reuse_factor": 1} if topology is CELLS else {"radio.sidelinks": "concurrent"}
    check(tiny_scenario({"topology": topology, **WIFI, **apart}))
    with pytest.raises(InputError, match="'csma_ca' has everybody on a band hear each other") as caught:
        check(tiny_scenario({"topology": topology, **WIFI, **together}))
    assert caught.value.key == "radio.sharing"


@pytest.mark.parametrize("sharing", ["fdma", "min_max_latency"])
def test_a_band_in_parts_has_one_direction(sharing: str) -> None:
    both = {"radio.sharing": {"kind": sharing}}
    check(tiny_scenario(both))
    check(tiny_scenario({**both, "topology": SIDELINKS, "radio.sidelinks": "concurrent"}))
    for wrong in ({"radio.duplex": "half"}, {"topology": SIDELINKS, "radio.sidelinks": "time_shared"}):
        with pytest.raises(InputError, match=f"'{sharing}' has radios on air at once.*set radio.duplex to 'full'"):
            check(tiny_scenario({**both, **wrong}))


def remarks(changes: dict[str, Any]) -> list[str]:
    scenario = tiny_scenario({"radio.path_loss": {"kind": "free_space"}, **changes})
    return concerns(scenario, check(scenario))


def test_whole_routes_where_media_share_a_band_are_remarked_on() -> None:
    cells = {"topology": CELLS, "radio.sharing": {"kind": "max_min"}}
    [remark] = remarks({**cells, "radio.reuse_factor": 1})
    assert "where media share a band it overstates interference" in remark
    assert remarks({**cells, "radio.reuse_factor": 3}) == []
    assert remarks({"topology": CELLS, "radio.reuse_factor": 1}) == []


def test_validity_is_looked_at_along_the_way() -> None:
    """All start beyond 10 m from their base station; some come closer as they walk."""
    umi = {"radio.path_loss": {"kind": "tr38901_umi"}, "inference.duration_s": 300.0}
    umi |= {"topology": {"kind": "cell", "num_devices": 8, "radius_m": 40.0, "min_distance_m": 11.0}}
    walk = {"mobility": {"kind": "random_waypoint", "min_speed_m_per_s": 5.0, "max_speed_m_per_s": 10.0}}
    assert remarks(umi) == []
    [remark] = remarks({**umi, **walk})
    assert "outside the range of radio.path_loss 'tr38901_umi' somewhere on their way" in remark
    assert remark.endswith("their losses are extrapolated")
    with pytest.raises(InputError, match=r"somewhere on their way.*radio\.strict refuses that"):
        check(tiny_scenario({**umi, **walk, "radio.strict": True}))
