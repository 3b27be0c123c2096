import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from channels.link_adaptation import (
    block_error_rate,
    capacity_equivalent_sinr,
    effective_sinr,
    sinr_threshold_db,
)
from channels.nr import channel_bandwidths_hz
from channels.nr_link import eesm_sinr, nr_link
from channels.units import db_to_linear
from nmoe_sim.engine.radio.link_adaptation import Shannon

SINR_DB = st.floats(-60.0, 80.0)
SUB_BANDS_DB = st.lists(SINR_DB, min_size=1, max_size=12)
BLOCK_BITS = st.floats(1.0, 1e6)


@given(mcs=st.integers(0, 28), sinr_db=st.tuples(SINR_DB, SINR_DB), block_bits=BLOCK_BITS)
def test_block_errors_never_increase_with_sinr(mcs: int, sinr_db: tuple[float, float], block_bits: float) -> None:
    low, high = block_error_rate(mcs, sorted(sinr_db), block_bits=block_bits)
    assert 0.0 <= high <= low + 1e-9 <= 1.0 + 1e-9


@given(mcs=st.integers(0, 26), sinr_db=SINR_DB, block_bits=st.floats(24.0, 1e5))
def test_higher_schemes_need_more_sinr(mcs: int, sinr_db: float, block_bits: float) -> None:
    threshold_db = sinr_threshold_db([mcs, mcs + 1], block_bits=block_bits)
    assert threshold_db[0] < threshold_db[1]


LINKS = st.fixed_dictionaries(
    {
        "numerology": st.integers(0, 2),
        "cqi_table": st.sampled_from([1, 2]),
        "overhead": st.sampled_from([0.0, 0.14]),
        "target_bler": st.sampled_from([0.5, 0.1, 1e-3]),
        "max_transmissions": st.sampled_from([1, 2, 4]),
    }
)


@given(settings=LINKS, channel=st.integers(0, 100), sinr_db=st.lists(SINR_DB, min_size=2, max_size=50))
def test_goodput_rises_with_a_known_sinr_and_stays_below_shannon(
    settings: dict[str, object], channel: int, sinr_db: list[float]
) -> None:
    bandwidths_hz = channel_bandwidths_hz(int(str(settings["numerology"])), "fr1")
    bandwidth_hz = bandwidths_hz[channel % len(bandwidths_hz)]
    sinr = db_to_linear(np.sort(sinr_db))
    sent = nr_link(bandwidth_hz, **settings).transmission(sinr, sinr)  # type: ignore[arg-type]
    goodput_bps = sent.rate_bps * (1.0 - sent.block_loss)
    for rising in (sent.rate_bps, goodput_bps):
        assert np.all(np.diff(rising) >= -1e-12 * rising[1:])
    assert np.all(goodput_bps <= bandwidth_hz * np.log1p(sinr) / np.log(2.0))
    assert np.all((sent.block_loss >= 0.0) & (sent.block_loss < 1.0))
    assert np.all(
        (sent.mean_transmissions >= 1.0) & (sent.mean_transmissions <= int(str(settings["max_transmissions"])) + 1e-12)
    )
    assert np.all(np.isfinite(sent.loss_per_bit))


@given(actual_db=st.tuples(SINR_DB, SINR_DB), reported_db=SINR_DB, max_transmissions=st.sampled_from([1, 4]))
def test_with_the_same_report_a_better_channel_carries_more_and_loses_less(
    actual_db: tuple[float, float], reported_db: float, max_transmissions: int
) -> None:
    sinr = db_to_linear(sorted(actual_db))
    link = nr_link(20e6, max_transmissions=max_transmissions)
    sent = link.transmission(sinr, np.full(2, db_to_linear(reported_db)))
    assert sent.rate_bps[0] <= sent.rate_bps[1] * (1 + 1e-12)
    if sent.rate_bps[0] > 0.0:
        assert sent.block_loss[0] >= sent.block_loss[1] - 1e-12
        assert sent.mean_transmissions[0] >= sent.mean_transmissions[1] - 1e-12


@given(sub_bands_db=SUB_BANDS_DB, beta=st.floats(0.1, 200.0))
def test_effective_sinrs_are_between_the_worst_and_the_mean(sub_bands_db: list[float], beta: float) -> None:
    sinr = db_to_linear(sub_bands_db)
    for effective in (
        effective_sinr(sinr, beta),
        capacity_equivalent_sinr(sinr),
        Shannon().effective_sinr(sinr),
        eesm_sinr(sinr),
        eesm_sinr(sinr, table=2),
    ):
        assert sinr.min() * (1 - 1e-9) <= effective <= sinr.mean() * (1 + 1e-9)


@given(sub_bands_db=SUB_BANDS_DB, index=st.integers(0, 11), gain_db=st.floats(0.0, 30.0))
def test_effective_sinr_rises_with_each_sub_band(sub_bands_db: list[float], index: int, gain_db: float) -> None:
    better_db = list(sub_bands_db)
    better_db[index % len(better_db)] += gain_db
    assert eesm_sinr(db_to_linear(better_db)) >= eesm_sinr(db_to_linear(sub_bands_db)) * (1 - 1e-9)
