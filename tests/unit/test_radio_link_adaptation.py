import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import ArrayLike
from pydantic import ValidationError

from channels import nr, nr_link
from channels.block_errors import sinr_threshold_db, transport_block_error_rate
from channels.link_adaptation import capacity_equivalent_sinr, effective_sinr, shannon_efficiency
from channels.units import db_to_linear, linear_to_db
from nmoe_sim.engine.radio.link_adaptation import FloatArray, LinkAdaptation, Nr, Shannon

BANDWIDTH_HZ = 20e6
CLEAR = db_to_linear([60.0])


class Linear(LinkAdaptation):
    """The least that a law of one's own needs."""

    kind: ClassVar[str] = "linear"

    def efficiency_bps_per_hz(self, sinr: ArrayLike) -> FloatArray:
        return np.asarray(sinr, dtype=np.float64) / 10.0


def test_a_law_of_ones_own_needs_its_efficiency_only() -> None:
    law = Linear()
    sent = law.transmission(np.array([1.0, 20.0]), np.array([5.0, 5.0]), bandwidth_hz=100.0)
    np.testing.assert_array_equal(sent.rate_bps, [10.0, 200.0])
    np.testing.assert_array_equal(sent.block_loss, [0.0, 0.0])
    np.testing.assert_array_equal(sent.loss_per_bit, [0.0, 0.0])
    np.testing.assert_array_equal(sent.mean_transmissions, [1.0, 1.0])
    assert np.all(np.isinf(sent.block_bits))
    assert (law.report_delay_s, sent.retransmission_delay_s) == (0.0, 0.0)
    law.check(12_345.0, carrier_hz=1e12)
    assert law.occupied_hz(12_345.0) == 12_345.0
    with pytest.raises(TypeError):
        LinkAdaptation()  # type: ignore[abstract]


def test_shannon_defaults_to_a_gap_and_a_cap() -> None:
    law = Shannon()
    # A gap of 3 dB divides the SINR by 1.9953.
    np.testing.assert_allclose(law.efficiency_bps_per_hz([1.9952623, 1e9]), [1.0, 7.4063], rtol=1e-7)
    assert law.max_bps_per_hz == pytest.approx(8 * 948 / 1024, abs=5.1e-5)
    sent = law.transmission(np.array([1.9952623]), np.array([0.0]), bandwidth_hz=BANDWIDTH_HZ)
    np.testing.assert_allclose(sent.rate_bps, BANDWIDTH_HZ, rtol=1e-7)


def test_sub_bands_of_shannon_carry_their_mean() -> None:
    law = Shannon(gap_db=6.0, max_bps_per_hz=None)
    sinr = np.array([[0.0, 3.0, 50.0], [7.0, 7.0, 7.0]])
    flat = law.effective_sinr(sinr)
    np.testing.assert_allclose(law.efficiency_bps_per_hz(flat), law.efficiency_bps_per_hz(sinr).mean(axis=-1))
    np.testing.assert_allclose(flat[1], 7.0)
    np.testing.assert_allclose(capacity_equivalent_sinr([1.0, 3.0]), 2**1.5 - 1)
    np.testing.assert_allclose(Linear().effective_sinr(sinr[0]), capacity_equivalent_sinr(sinr[0]))


def test_exponential_mapping() -> None:
    # Two sub-bands at 0 and a far better one: half of the exponentials vanish.
    np.testing.assert_allclose(effective_sinr([0.0, 1e9], 5.0), 5.0 * np.log(2.0))
    np.testing.assert_allclose(effective_sinr([[2.0, 2.0], [1e8, 1e8 + 1]], [1.6, 30.0]), [2.0, 1e8 + 0.5], atol=1e-2)
    np.testing.assert_array_equal(effective_sinr([[np.inf, np.inf], [0.0, 0.0]], 1.6), [np.inf, 0.0])
    np.testing.assert_allclose(effective_sinr([1.0, 4.0], 1e9), 2.5, rtol=1e-6)
    np.testing.assert_allclose(effective_sinr([1.0, 4.0], 1e-3), 1.0 + 1e-3 * np.log(2.0))


def test_the_mappings_parameter_is_that_of_the_scheme_or_ones_own() -> None:
    sinr = db_to_linear([[-3.0, 0.0], [20.0, 26.0], [5.0, 5.0]])
    betas = nr.schemes(1).eesm_beta
    # Capacity is that of -1.4 dB, where MCS 4 works and MCS 6 doesn't, and of 23.0 dB, where all work.
    np.testing.assert_allclose(linear_to_db(capacity_equivalent_sinr(sinr[:2])), [-1.4, 23.0], atol=0.1)
    thresholds_db = sinr_threshold_db([4, 6, 28], block_bits=8448)
    assert thresholds_db[0] < -1.5 < -1.3 < thresholds_db[1] < thresholds_db[2] < 22.0
    np.testing.assert_allclose(Nr().effective_sinr(sinr)[:2], effective_sinr(sinr[:2], betas[[4, 28]]))
    np.testing.assert_allclose(Nr().effective_sinr(sinr)[2], sinr[2, 0])
    np.testing.assert_allclose(Nr(eesm_beta=3.0).effective_sinr(sinr), effective_sinr(sinr, 3.0))
    np.testing.assert_array_equal(Nr().effective_sinr(sinr[:, :1]), sinr[:, 0])


@pytest.mark.parametrize(
    ("law", "bandwidth_hz"),
    [
        (Nr(), 20e6),
        (Nr(numerology=0, overhead=0.08), 5e6),
        (Nr(frequency_range="fr2", numerology=3, cqi_table=2, overhead=0.18), 400e6),
    ],
)
def test_the_peak_rate_is_that_of_ts_38306(law: Nr, bandwidth_hz: float) -> None:
    blocks = nr.resource_blocks(bandwidth_hz, numerology=law.numerology, frequency_range=law.frequency_range)
    peak_bps = nr.peak_rate_bps(
        blocks,
        numerology=law.numerology,
        bits_per_symbol=8 if law.cqi_table == 2 else 6,
        code_rate=948 / 1024,
        overhead=law.overhead,
    )
    sent = law.transmission(CLEAR, CLEAR, bandwidth_hz=bandwidth_hz)
    # Whole bits a slot.
    np.testing.assert_allclose(sent.rate_bps, peak_bps, rtol=2e-4)
    np.testing.assert_array_equal(sent.block_bits, np.round(sent.rate_bps * nr.slot_s(law.numerology)))
    assert (sent.block_loss, sent.mean_transmissions) == (0.0, 1.0)
    assert sent.retransmission_delay_s == law.retransmission_delay_s


def test_schemes_come_into_use_at_the_target() -> None:
    link = Nr().link(BANDWIDTH_HZ)
    first_errors = transport_block_error_rate(link.mcs, link.thresholds_db, block_bits=link.block_bits.astype(int))
    assert np.all(first_errors <= 0.1 + 1e-9)
    # One grid step of 0.02 dB earlier they miss the target, unless a lower scheme is still better.
    earlier = transport_block_error_rate(link.mcs, link.thresholds_db - 0.021, block_bits=link.block_bits.astype(int))
    assert np.count_nonzero(earlier > 0.1) >= len(link.mcs) - 2
    np.testing.assert_array_equal(link.mcs, [0, 2, 4, 6, 8, 11, 13, 15, 18, 20, 22, 24, 26, 28])


def test_an_old_report_costs() -> None:
    law = Nr()
    good, fair = db_to_linear([15.5]), db_to_linear([13.5])
    fresh = law.transmission(fair, fair, bandwidth_hz=BANDWIDTH_HZ)
    too_bold = law.transmission(fair, good, bandwidth_hz=BANDWIDTH_HZ)
    too_timid = law.transmission(good, fair, bandwidth_hz=BANDWIDTH_HZ)
    assert too_bold.rate_bps < 0.7 * fresh.rate_bps
    assert too_bold.mean_transmissions == pytest.approx(2.0, abs=1e-3)
    assert too_bold.block_bits > fresh.block_bits
    assert too_timid.block_bits == fresh.block_bits
    assert fresh.rate_bps <= too_timid.rate_bps < law.transmission(good, good, bandwidth_hz=BANDWIDTH_HZ).rate_bps


def test_harq_gives_up() -> None:
    once = Nr(max_transmissions=1, cqi_table=1)
    link = once.link(BANDWIDTH_HZ)
    edge = db_to_linear(link.thresholds_db[5:6])
    sent = once.transmission(edge, edge, bandwidth_hz=BANDWIDTH_HZ)
    assert 0.05 < sent.block_loss[0] <= 0.1
    # All that is sent leaves the queue; what of it arrives is rate x (1 - P).
    np.testing.assert_allclose(sent.rate_bps, link.block_bits[5] / 0.5e-3)
    np.testing.assert_allclose(sent.loss_per_bit, -np.log(1 - sent.block_loss) / sent.block_bits)
    # With HARQ, airtime instead of loss.
    retried = Nr().transmission(edge, edge, bandwidth_hz=BANDWIDTH_HZ)
    assert retried.block_loss[0] < 1e-6
    np.testing.assert_allclose(retried.mean_transmissions, 1 + sent.block_loss, rtol=1e-6)
    np.testing.assert_allclose(retried.rate_bps, sent.rate_bps / retried.mean_transmissions)
    np.testing.assert_allclose(retried.retransmissions_per_bit, sent.block_loss / link.block_bits[5], rtol=1e-6)


def test_nothing_is_sent_below_the_lowest_scheme() -> None:
    sent = Nr().transmission(np.array([0.0, 1.0]), np.array([0.0, 1e-2]), bandwidth_hz=BANDWIDTH_HZ)
    np.testing.assert_array_equal(sent.rate_bps, 0.0)
    np.testing.assert_array_equal(sent.loss_per_bit, 0.0)
    np.testing.assert_array_equal(sent.mean_transmissions, 1.0)
    assert np.all(np.isinf(sent.block_bits))


def test_what_is_sent_far_below_the_report_is_lost() -> None:
    law = Nr()
    sent = law.transmission(np.array([0.0, 1e-3]), np.array([1e3, 1e3]), bandwidth_hz=BANDWIDTH_HZ)
    best = law.transmission(CLEAR, CLEAR, bandwidth_hz=BANDWIDTH_HZ)
    np.testing.assert_allclose(sent.rate_bps, np.repeat(best.rate_bps / 4, 2))  # each block four times
    np.testing.assert_allclose(sent.mean_transmissions, 4.0)
    np.testing.assert_allclose(sent.loss_per_bit * sent.block_bits, 50.0)


@pytest.mark.parametrize("max_transmissions", [1, 4])
@pytest.mark.parametrize(("sinr_db", "reported_db"), [(2.77, 10.0), (8.0, 9.0), (15.0, 15.0)])
def test_rate_and_loss_make_the_throughput_of_renewal_theory(
    max_transmissions: int, sinr_db: float, reported_db: float
) -> None:
    """Delivered a second: (1 - P_N) · block / (E[T] · slot), with the failures worked out on their own."""
    law = Nr(max_transmissions=max_transmissions)
    sinr = db_to_linear(np.array([sinr_db]))
    sent = law.transmission(sinr, db_to_linear(np.array([reported_db])), bandwidth_hz=BANDWIDTH_HZ)
    link = law.link(BANDWIDTH_HZ)
    scheme = int(np.searchsorted(link.thresholds_db, reported_db, side="right")) - 1
    block = int(link.block_bits[scheme])
    combined_db = sinr_db + linear_to_db(np.arange(1, max_transmissions + 1))
    failures = transport_block_error_rate(link.mcs[scheme], combined_db, block_bits=block)
    transmissions = 1.0 + failures[:-1].sum()
    delivered_bps = sent.rate_bps * (1.0 - sent.block_loss)
    np.testing.assert_allclose(
        delivered_bps, (1.0 - failures[-1]) * block / transmissions / 0.5e-3, rtol=5e-3, atol=1e-4 * sent.rate_bps[0]
    )
    np.testing.assert_allclose(sent.block_loss, failures[-1], atol=5e-3)
    np.testing.assert_allclose(sent.mean_transmissions, transmissions, rtol=5e-3)


def test_delays_are_settings() -> None:
    law = Nr(report_delay_s=0.02, retransmission_delay_s=0.001)
    assert law.report_delay_s == 0.02
    assert law.transmission(CLEAR, CLEAR, bandwidth_hz=BANDWIDTH_HZ).retransmission_delay_s == 0.001


def test_bandwidths_that_nr_does_not_have_are_refused() -> None:
    Nr().check(100e6, carrier_hz=3.5e9)
    with pytest.raises(
        ValueError, match=r"7 MHz is no channel bandwidth .* 15 kHz in FR1; in MHz, there are 5, 10, 15"
    ):
        Nr(numerology=0).check(7e6, carrier_hz=3.5e9)
    with pytest.raises(ValueError, match=r"20 MHz .* in FR2; in MHz, there are 50, 100, 200, 400$"):
        Nr(frequency_range="fr2", numerology=3).check(20e6, carrier_hz=28e9)


def test_a_carrier_is_in_its_range() -> None:
    fr1, fr2 = Nr(), Nr(frequency_range="fr2", numerology=3)
    fr1.check(20e6, carrier_hz=7.125e9)
    fr2.check(100e6, carrier_hz=24.25e9)
    with pytest.raises(ValueError, match=r"fr1 ends at 7.125 GHz and the carrier is at 28 GHz; .* 'fr2'"):
        fr1.check(100e6, carrier_hz=28e9)
    with pytest.raises(ValueError, match=r"fr2 begins at 24.25 GHz and the carrier is at 3.5 GHz; .* 'fr1'"):
        fr2.check(100e6, carrier_hz=3.5e9)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (Shannon, {"gap_db": -1.0}),
        (Shannon, {"max_bps_per_hz": 0.0}),
        (Nr, {"numerology": 4}),
        (Nr, {"cqi_table": 3}),
        (Nr, {"overhead": 1.0}),
        (Nr, {"target_bler": 0.0}),
        (Nr, {"max_transmissions": 0}),
        (Nr, {"report_delay_s": -0.001}),
        (Nr, {"frequency_range": "fr3"}),
    ],
)
def test_wrong_fields_are_refused(spec: type, fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)


def test_a_numerology_belongs_to_its_range() -> None:
    with pytest.raises(ValidationError, match="fr1 has no numerology 3; it has 0, 1, 2"):
        Nr(numerology=3)
    with pytest.raises(ValidationError, match="fr2 has no numerology 1; it has 2, 3"):
        Nr(frequency_range="fr2")


def test_tables_are_computed_once() -> None:
    assert Nr().link(BANDWIDTH_HZ) is Nr(report_delay_s=0.0).link(BANDWIDTH_HZ)
    assert Nr().link(BANDWIDTH_HZ) is not Nr(max_transmissions=2).link(BANDWIDTH_HZ)


def test_shapes_are_kept() -> None:
    sinr = np.ones((3, 2))
    for law in (Shannon(), Nr()):
        sent = law.transmission(sinr, sinr, bandwidth_hz=BANDWIDTH_HZ)
        for array in (sent.rate_bps, sent.block_loss, sent.block_bits, sent.mean_transmissions, sent.loss_per_bit):
            assert array.shape == (3, 2)
    np.testing.assert_array_equal(
        Shannon().transmission(sinr, sinr, bandwidth_hz=2.0).rate_bps,
        2.0 * shannon_efficiency(sinr, gap_db=3.0, max_bps_per_hz=7.4063),
    )


def test_checking_imports_neither_scipy_nor_torch() -> None:
    code = (
        "import sys; from nmoe_sim.engine.radio.link_adaptation import Nr; Nr(cqi_table=2).check(20e6, carrier_hz=3e9);"
        "assert not {'torch', 'scipy', 'scipy.stats', 'scipy.special', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_schemes_never_used_do_not_disturb_the_order() -> None:
    # A strict target makes some schemes come late; thresholds still never fall.
    for target in (0.5, 1e-4):
        link = nr_link.nr_link(BANDWIDTH_HZ, target_bler=target, max_transmissions=8)
        assert np.all(np.diff(link.thresholds_db) >= 0)
        assert np.all(np.isfinite(link.thresholds_db))
