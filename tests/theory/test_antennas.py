"""Power that antennas radiate, and what a codebook loses between its beams."""

import numpy as np
import pytest

from channels.antennas import PlanarArray, dft_array_gain, sector_gain_db
from nmoe_sim.engine.radio.antennas import PlanarArray as PanelSpec


def sphere(num: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions on a grid [2N, N] and their shares of the sphere, which sum to 1: Gauss-Legendre in sin(elevation)."""
    height, weight = np.polynomial.legendre.leggauss(num)
    azimuth = 2 * np.pi * (np.arange(2 * num)[:, None] + 0.5) / (2 * num)
    return azimuth, np.arcsin(height), np.broadcast_to(weight / 2 / (2 * num), (2 * num, num))


AZIMUTH, ELEVATION, SHARE = sphere()


@pytest.mark.parametrize("beam", [0, 1, 5, 11])
@pytest.mark.parametrize("upright", [True, False])
def test_a_line_of_elements_half_a_wavelength_apart_radiates_what_it_is_fed(beam: int, upright: bool) -> None:
    # The cross terms are sinc(2·spacing·(m - n)), which vanish at half a wavelength.
    array = PlanarArray(6 if upright else 1, 1 if upright else 6, oversampling=2)
    assert np.sum(SHARE * array.gain(beam, AZIMUTH, ELEVATION)) == pytest.approx(1.0, abs=1e-6)


def test_closer_elements_radiate_as_the_mutual_terms_say() -> None:
    spacing, num = 0.3, 5
    array = PlanarArray(num, 1, row_spacing=spacing)
    m = np.arange(num)
    expected = np.sum(np.sinc(2 * spacing * (m[:, None] - m))) / num  # beam 0: all in phase
    assert np.sum(SHARE * array.gain(0, AZIMUTH, ELEVATION)) == pytest.approx(expected, rel=1e-6)
    assert expected > 1.3


def test_the_codewords_of_a_full_dft_share_the_power() -> None:
    # Without oversampling the codewords are orthonormal: their gains sum to the number of elements everywhere.
    array = PlanarArray(4, 3)
    gains = array.gain(np.arange(array.num_beams)[:, None, None], AZIMUTH[::50], ELEVATION[::50])
    np.testing.assert_allclose(gains.sum(axis=0), 12.0, rtol=1e-9)


@pytest.mark.parametrize(("num_elements", "oversampling"), [(2, 1), (8, 1), (8, 2), (8, 4), (64, 1), (64, 4)])
def test_scalloping_loss(num_elements: int, oversampling: int) -> None:
    array = PlanarArray(1, num_elements, oversampling=oversampling)
    azimuth = np.linspace(-np.pi / 2, np.pi / 2, 200_001)
    gain = array.gain(array.beam_towards(azimuth, 0.0), azimuth, 0.0)
    halfway = np.pi / (2 * oversampling * num_elements)
    worst = (np.sin(num_elements * halfway) / (num_elements * np.sin(halfway))) ** 2
    assert gain.max() == pytest.approx(num_elements)
    assert gain.min() == pytest.approx(num_elements * worst, rel=1e-4)
    if num_elements == 64:  # as documented: 3.92 dB and 0.22 dB in the limit of many elements
        assert -10 * np.log10(worst) == pytest.approx({1: 3.92, 4: 0.22}[oversampling], abs=0.005)


def test_width_and_side_lobe_of_a_uniform_array() -> None:
    # Half-power width 0.886/(N d) and first side lobe -13.26 dB of a long array (Balanis 2016, section 6.3).
    spatial_frequency = np.linspace(0, 0.5, 1_000_001)
    gain_db = 10 * np.log10(np.maximum(dft_array_gain(64, spatial_frequency) / 64, 1e-12))
    assert 2 * spatial_frequency[np.argmax(gain_db < 10 * np.log10(0.5))] == pytest.approx(0.886 / 64, rel=1e-3)
    assert gain_db[spatial_frequency > 1 / 64].max() == pytest.approx(-13.26, abs=0.02)


def test_wide_spacing_has_grating_lobes() -> None:
    array = PlanarArray(1, 8, column_spacing=1.0)
    assert array.gain(0, np.array([0.0, np.pi / 2, -np.pi / 2]), 0.0) == pytest.approx([8.0] * 3)


def test_documented_departures_of_3gpp_gains_from_what_is_fed() -> None:
    # The element's 8 dBi is 1.8 dB below the directivity of its pattern.
    radiated = np.sum(SHARE * 10 ** (sector_gain_db(AZIMUTH, ELEVATION) / 10))
    assert radiated == pytest.approx(0.66, abs=0.005)
    assert 8.0 - 10 * np.log10(radiated) == pytest.approx(9.8, abs=0.05)
    # Elements that didn't couple would have 23 dBi together; what they radiate over the sphere says 20.6.
    law = PanelSpec()
    radiated = np.sum(SHARE * 10 ** (law.gain_db(law.beam_towards(0.0, 0.0), AZIMUTH, ELEVATION) / 10))
    assert law.gain_db(0, 0.0, 0.0) == pytest.approx(23.05, abs=0.005)
    assert law.gain_db(0, 0.0, 0.0) - 10 * np.log10(radiated) == pytest.approx(20.6, abs=0.1)
