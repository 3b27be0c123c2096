"""Antennas against Sionna, where it is installed."""

import numpy as np
import pytest

from channels.antennas import PlanarArray, sector_gain_db

pytest.importorskip("sionna.phy")


def test_sector_element() -> None:
    import torch
    from sionna.phy.channel.tr38901 import AntennaElement

    zenith, azimuth = np.meshgrid(np.linspace(0, np.pi, 91), np.linspace(-np.pi, np.pi, 121))
    element = AntennaElement("38.901", precision="double")
    field = element.field(torch.tensor(zenith), torch.tensor(azimuth))
    power_db = 10 * np.log10(sum(f.numpy() ** 2 for f in field))
    np.testing.assert_allclose(sector_gain_db(azimuth, np.pi / 2 - zenith), power_db, atol=1e-9)


def test_codebook() -> None:
    from sionna.phy.mimo import grid_of_beams_dft

    array = PlanarArray(3, 4, oversampling=2)
    codebook = grid_of_beams_dft(3, 4, 2, 2, precision="double").numpy().reshape(array.num_beams, 4, 3)
    rng = np.random.default_rng(1)
    azimuth, elevation = rng.uniform(-np.pi, np.pi, 200), rng.uniform(-np.pi / 2, np.pi / 2, 200)
    row_phase = np.arange(3) * np.sin(elevation)[:, None] / 2
    column_phase = np.arange(4) * (np.cos(elevation) * np.sin(azimuth))[:, None] / 2
    arriving = np.exp(2j * np.pi * (column_phase[:, :, None] + row_phase[:, None, :]))
    expected = np.abs(np.einsum("dcr,bcr->bd", arriving, codebook.conj())) ** 2
    np.testing.assert_allclose(array.gain(np.arange(array.num_beams)[:, None], azimuth, elevation), expected, atol=1e-9)
