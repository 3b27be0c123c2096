import csv
from pathlib import Path

import numpy as np

from channels.units import thermal_noise_w, watt_to_dbm

CASES = Path(__file__).parent / "data" / "noise_power_cases.csv"


def test_noise_power_equals_the_tabled_cases() -> None:
    with CASES.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == 13 * 5
    bandwidth_hz = np.array([float(row["bandwidth_mhz"]) * 1e6 for row in rows])
    noise_figure_db = np.array([float(row["noise_figure_db"]) for row in rows])
    expected_dbm = np.array([float(row["noise_dbm_exact_kTB_290K"]) for row in rows])

    noise_dbm = watt_to_dbm(thermal_noise_w(bandwidth_hz, noise_figure_db))

    np.testing.assert_allclose(noise_dbm, expected_dbm, rtol=0, atol=1e-3)
