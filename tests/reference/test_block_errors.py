import csv
import json
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri

from channels.block_errors import (
    IMPLEMENTATION_LOSS_DB,
    bicm_moments,
    block_error_rate,
    sinr_threshold_db,
    transport_block_error_rate,
)
from channels.link_adaptation import spectral_efficiency
from channels.units import db_to_linear

DATA = Path(__file__).parent / "data"
BLOCK_BITS = (500, 1000, 2000)
MCS = range(3, 28)
TOLERANCE_DB = 0.6


def rows_of(name: str) -> list[dict[str, str]]:
    with (DATA / name).open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


# Labels of TS 38.211, section 5.1: the amplitude of one dimension by its bits.
LABELS = {
    2: {(b,): 1 - 2 * b for b in (0, 1)},
    4: {(b, c): (1 - 2 * b) * (2 - (1 - 2 * c)) for b, c in product((0, 1), repeat=2)},
    6: {
        (b, c, d): (1 - 2 * b) * (4 - (1 - 2 * c) * (2 - (1 - 2 * d))) for b, c, d in product((0, 1), repeat=3)
    },
}  # fmt: skip


def moments_by_adaptive_quadrature(gamma: float, bits_per_symbol: int) -> tuple[float, float]:
    labels = LABELS[bits_per_symbol]
    scale = np.sqrt(2 * np.mean(np.square(list(labels.values()))))
    points = {label: amplitude / scale for label, amplitude in labels.items()}

    def density(received: float, sent: tuple[int, ...]) -> float:
        likelihood = {label: np.exp(-gamma * (received - point) ** 2) for label, point in points.items()}
        return sum(
            np.log2(2 * sum(value for label, value in likelihood.items() if label[i] == bit) / sum(likelihood.values()))
            for i, bit in enumerate(sent)
        )

    def mean_of(power: int) -> float:
        total = 0.0
        for sent, point in points.items():
            spread = 6.5 / np.sqrt(gamma)
            total += quad(
                lambda y, sent=sent, point=point: (
                    density(y, sent) ** power * np.sqrt(gamma / np.pi) * np.exp(-gamma * (y - point) ** 2)
                ),
                point - spread,
                point + spread,
                limit=200,
            )[0]
        return total / len(points)

    first, second = mean_of(1), mean_of(2)
    return 2 * first, 2 * (second - first**2)


@pytest.mark.parametrize(("bits_per_symbol", "sinr_db"), [(2, -10.0), (2, 3.0), (4, 6.0), (6, 2.0), (6, 14.0)])
def test_capacity_and_dispersion_equal_adaptive_quadrature_over_the_standards_labels(
    bits_per_symbol: int, sinr_db: float
) -> None:
    gamma = float(db_to_linear(sinr_db))
    capacity, dispersion = bicm_moments(gamma, bits_per_symbol)
    expected_capacity, expected_dispersion = moments_by_adaptive_quadrature(gamma, bits_per_symbol)
    assert capacity == pytest.approx(expected_capacity, rel=1e-4)
    assert dispersion == pytest.approx(expected_dispersion, rel=2e-3)


@pytest.mark.parametrize("bits_per_symbol", [2, 4, 6, 8])
def test_capacity_is_below_shannon_and_near_it_at_low_sinr(bits_per_symbol: int) -> None:
    sinr = db_to_linear(np.arange(-40.0, 51.0))
    capacity, dispersion = bicm_moments(sinr, bits_per_symbol)
    assert np.all(capacity <= np.minimum(np.log1p(sinr) / np.log(2), bits_per_symbol) * (1 + 1e-9))
    assert np.all(np.diff(capacity) >= -1e-12)
    assert capacity[-1] == pytest.approx(bits_per_symbol)
    assert np.all(dispersion >= 0.0)
    # Gray-labelled QPSK loses nothing to first order; 16-QAM and up do.
    if bits_per_symbol == 2:
        np.testing.assert_allclose(capacity[:10], np.log2(1 + sinr[:10]), rtol=1e-3)


def test_thresholds_rise_with_the_mcs() -> None:
    for block_bits in (100, *BLOCK_BITS, 8448):
        assert np.all(np.diff(sinr_threshold_db(np.arange(28), block_bits=block_bits)) > 0.05)


def test_thresholds_are_where_block_errors_cross_the_target() -> None:
    mcs = np.arange(29)
    for target in (0.5, 0.1, 1e-3):
        threshold_db = sinr_threshold_db(mcs, block_bits=1000, target=target)
        np.testing.assert_allclose(block_error_rate(mcs, threshold_db, block_bits=1000), target, rtol=1e-9)


def test_thresholds_are_those_of_ldpc_simulation() -> None:
    rows = rows_of("nr_ldpc_thresholds.csv")
    assert [(int(row["mcs"]), int(row["block_bits"])) for row in rows] == list(product(MCS, BLOCK_BITS))
    expected = np.array([float(row["threshold_db"]) for row in rows])
    threshold_db = [float(sinr_threshold_db(int(row["mcs"]), block_bits=int(row["block_bits"]))) for row in rows]
    residual = expected - threshold_db
    assert np.abs(residual).max() < TOLERANCE_DB
    assert abs(residual.mean()) < 0.1  # The constant is fitted.


def test_inside_the_waterfall_sinrs_are_those_of_ldpc_simulation() -> None:
    rows = rows_of("nr_ldpc_waterfall.csv")
    assert {int(row["mcs"]) for row in rows} == set(MCS)
    residual = [
        float(row["sinr_db"])
        - float(sinr_threshold_db(int(row["mcs"]), block_bits=int(row["block_bits"]), target=float(row["bler"])))
        for row in rows
    ]
    assert np.abs(residual).max() < TOLERANCE_DB


def test_the_committed_thresholds_are_sionnas() -> None:
    pytest.importorskip("sionna")
    (folder,) = find_spec("sionna").submodule_search_locations
    table = json.loads((Path(folder) / "sys" / "bler_tables" / "PDSCH_table1.json").read_text())
    schemes = table["category"]["1"]["index"]["1"]["MCS"]
    for row in rows_of("nr_ldpc_thresholds.csv"):
        scheme = schemes[row["mcs"]]
        curves = {size: np.array(curve["BLER"]) for size, curve in scheme["CBS"].items()}
        floor = min(curve[curve > 0].min() for curve in curves.values()) / 100
        curve = np.log10(np.maximum(curves[row["block_bits"]], floor))
        crossing = np.interp(1.0, -curve, scheme["SNR_db"])
        assert float(row["threshold_db"]) == pytest.approx(crossing, abs=5.1e-4)


def test_block_errors_are_the_normal_approximation() -> None:
    # QPSK at rate 449/1024: without the loss, 1,000 bits in 1,140.3 symbols.
    sinr_db, num_symbols = 0.0, 1000 / (2 * 449 / 1024)
    capacity, dispersion = bicm_moments(db_to_linear(sinr_db), 2)
    argument = (num_symbols * capacity - 1000) / np.sqrt(num_symbols * dispersion)
    error = block_error_rate(6, sinr_db + IMPLEMENTATION_LOSS_DB, block_bits=1000)
    assert -ndtri(error) == pytest.approx(argument, abs=1e-3)
    assert 0.001 < error < 0.5


def test_longer_blocks_are_steeper() -> None:
    threshold_db = sinr_threshold_db(10, block_bits=np.array([100, 1000, 10000]))
    assert np.all(np.diff(threshold_db) < 0)


def test_a_transport_block_is_lost_with_any_of_its_code_blocks() -> None:
    # 85,069 bits with a checksum of 24 in code blocks of at most 8,424: eleven.
    single = block_error_rate(28, 19.1, block_bits=85_069 / 11)
    assert 0.001 < single < 0.5
    assert transport_block_error_rate(28, 19.1, block_bits=85_069) == pytest.approx(1 - (1 - single) ** 11)
    assert transport_block_error_rate(28, 19.1, block_bits=2000) == block_error_rate(28, 19.1, block_bits=2000)


def test_extremes_are_finite_and_monotone_and_arguments_broadcast() -> None:
    sinr_db = np.linspace(-60.0, 80.0, 28_001)
    error = block_error_rate(np.arange(29)[:, np.newaxis], sinr_db, block_bits=1000)
    assert error.shape == (29, 28_001)
    assert np.all((error >= 0) & (error <= 1))
    assert np.diff(error).max() <= 1e-12
    np.testing.assert_array_equal(error[:, [0, -1]], np.tile([1.0, 0.0], (29, 1)))
    np.testing.assert_array_equal(block_error_rate(5, [-np.inf, np.inf], block_bits=1), [1.0, 0.0])


@pytest.mark.parametrize("mcs", [-1, 29, 1.0, [3, 40]])
def test_unknown_schemes_are_refused(mcs: object) -> None:
    with pytest.raises(ValueError, match="MCS of table 1 must be an integer from 0 to 28"):
        block_error_rate(mcs, 0.0, block_bits=500)
    with pytest.raises(ValueError, match="MCS of table 1"):
        spectral_efficiency(mcs)


def test_blocks_without_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="block_bits must be positive"):
        block_error_rate(3, 0.0, block_bits=[500, 0])


def test_spectral_efficiency() -> None:
    np.testing.assert_allclose(spectral_efficiency([0, 10, 28]), [0.2344, 1.3281, 5.5547], atol=5.1e-5)
    assert spectral_efficiency(27, table=2) == pytest.approx(8 * 948 / 1024)
