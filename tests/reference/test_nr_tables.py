import csv
from pathlib import Path

import numpy as np
import pytest

from channels import nr

DATA = Path(__file__).parent / "data"


def rows_of(name: str) -> list[dict[str, str]]:
    with (DATA / name).open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_numerology() -> None:
    rows = rows_of("nr_numerology.csv")
    assert len(rows) == 5
    for row in rows:
        numerology = int(row["mu"])
        assert nr.subcarrier_spacing_hz(numerology) == float(row["scs_khz"]) * 1e3
        assert nr.slot_s(numerology) * 1e3 == float(row["slot_ms"])
        assert int(row["symbols_per_slot"]) == nr.SYMBOLS_PER_SLOT


def numerology_of(row: dict[str, str]) -> int:
    return round(np.log2(int(row["scs_khz"]) / 15))


def test_resource_blocks_with_a_source() -> None:
    rows = [row for row in rows_of("nr_prb_counts.csv") if row["range"] != "FR1" or row["scs_khz"] != "60"]
    assert len(rows) == 10 + 15 + 3 + 4
    for row in rows:
        frequency_range = "fr1" if row["range"] == "FR1" else "fr2"
        blocks = nr.resource_blocks(
            float(row["channel_bw_mhz"]) * 1e6, numerology=numerology_of(row), frequency_range=frequency_range
        )
        assert blocks == int(row["n_rb"])


def test_resource_blocks_of_60_khz_in_fr1() -> None:
    # openairinterface5g, common/utils/nr/nr_common.c, tables_5_3_2; 70 MHz from TS 38.104 V15.3.
    expected = {10: 11, 15: 18, 20: 24, 25: 31, 30: 38, 40: 51, 50: 65, 60: 79, 70: 93, 80: 107, 90: 121, 100: 135}
    assert nr.channel_bandwidths_hz(2, "fr1") == tuple(bandwidth * 1e6 for bandwidth in expected)
    for bandwidth_mhz, blocks in expected.items():
        assert nr.resource_blocks(bandwidth_mhz * 1e6, numerology=2, frequency_range="fr1") == blocks


@pytest.mark.parametrize("frequency_range", ["fr1", "fr2"])
def test_resource_blocks_fit_into_their_channel(frequency_range: nr.FrequencyRange) -> None:
    for numerology in range(4):
        for bandwidth_hz in nr.channel_bandwidths_hz(numerology, frequency_range):
            blocks = nr.resource_blocks(bandwidth_hz, numerology=numerology, frequency_range=frequency_range)
            occupied_hz = blocks * nr.SUBCARRIERS_PER_RESOURCE_BLOCK * nr.subcarrier_spacing_hz(numerology)
            assert 0.79 * bandwidth_hz < occupied_hz < bandwidth_hz


def test_mcs_table_1() -> None:
    rows, schemes = rows_of("ts38214_mcs_table1.csv"), nr.schemes(1)
    assert [int(row["mcs"]) for row in rows] == list(range(29))
    np.testing.assert_array_equal(schemes.bits_per_symbol, [int(row["qm"]) for row in rows])
    np.testing.assert_array_equal(schemes.code_rate * 1024, [float(row["code_rate_x1024"]) for row in rows])
    np.testing.assert_allclose(schemes.efficiency, [float(row["efficiency"]) for row in rows], atol=5.1e-5)


@pytest.mark.parametrize("table", [1, 2])
def test_cqi_tables(table: int) -> None:
    # The second table of the reference file is from memory; srsRAN's csi_report_wideband_cqi.cpp has the same rows.
    rows = [row for row in rows_of("ts38214_cqi_tables.csv") if int(row["cqi_table"]) == table and row["cqi"] != "0"]
    assert len(rows) == 15
    efficiency = nr.cqi_efficiency(table)
    assert efficiency[0] == 0.0
    exact = [int(row["qm"]) * float(row["code_rate_x1024"]) / 1024 for row in rows]
    np.testing.assert_array_equal(efficiency[1:], exact)
    np.testing.assert_allclose(exact, [float(row["efficiency"]) for row in rows], atol=5.1e-5)


@pytest.mark.parametrize("table", [1, 2])
def test_mcs_tables_equal_those_of_sionna(table: int) -> None:
    pytest.importorskip("sionna")
    from sionna.phy.nr.utils import decode_mcs_index

    schemes = nr.schemes(table)
    for mcs, (bits, rate) in enumerate(zip(schemes.bits_per_symbol, schemes.code_rate, strict=True)):
        their_bits, their_rate = decode_mcs_index(mcs, table_index=table, is_pusch=False)
        assert (int(their_bits), float(their_rate)) == (bits, pytest.approx(rate, rel=1e-6))


@pytest.mark.parametrize("table", [1, 2])
def test_a_cqi_recommends_its_own_modulation_and_rate(table: int) -> None:
    mcs = nr.cqi_to_mcs(np.arange(16), table)
    np.testing.assert_array_equal(mcs[:2], [-1, 0])
    np.testing.assert_array_equal(nr.schemes(table).efficiency[mcs[2:]], nr.cqi_efficiency(table)[2:])


def test_peak_rates() -> None:
    rows = rows_of("ts38306_peak_rate_cases.csv")
    assert len(rows) == 6
    for row in rows:
        numerator, denominator = row["R_max"].split("/")
        rate_bps = nr.peak_rate_bps(
            int(row["n_prb"]),
            numerology=int(row["mu"]),
            bits_per_symbol=int(row["qm"]),
            code_rate=int(numerator) / int(denominator),
            num_layers=int(row["layers"]),
            scaling=float(row["scaling_f"]),
            overhead=float(row["overhead"]),
        )
        assert rate_bps / 1e6 == pytest.approx(float(row["rate_mbps"]), abs=5.1e-5)


@pytest.mark.parametrize("mcs", [0, 3, 9, 16, 28])
def test_transport_blocks_are_those_of_sionna_but_for_rounding(mcs: int) -> None:
    pytest.importorskip("sionna")
    from sionna.phy.nr.utils import calculate_tb_size

    schemes = nr.schemes(1)
    bits_per_symbol, rate = int(schemes.bits_per_symbol[mcs]), float(schemes.code_rate[mcs])
    for num_resource_blocks in (11, 51, 106, 273):
        data_symbols = 12  # of 14: the overhead is exactly a seventh
        bits = int(nr.transport_block_bits(num_resource_blocks, schemes.efficiency[mcs], overhead=2 / 14))
        their_bits, _, num_code_blocks, *_ = calculate_tb_size(
            bits_per_symbol,
            rate,
            num_coded_bits=num_resource_blocks * 12 * data_symbols * bits_per_symbol,
            return_cw_length=False,
            verbose=False,
        )
        assert bits == pytest.approx(int(their_bits), rel=0.04)
        assert nr.num_code_blocks(int(their_bits), rate) == int(num_code_blocks)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"12 MHz is no channel .* 30 kHz in FR1; in MHz, there are 5, 10, 15, .* 100$"
    ):
        nr.resource_blocks(12e6, numerology=1, frequency_range="fr1")
    assert nr.channel_bandwidths_hz(3, "fr1") == ()
    with pytest.raises(ValueError, match="CQI must be 0 to 15"):
        nr.cqi_to_mcs(16)
    with pytest.raises(ValueError, match="unknown table 3"):
        nr.schemes(3)
