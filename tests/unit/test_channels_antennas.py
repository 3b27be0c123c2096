import numpy as np
import pytest
from pydantic import ValidationError

from channels.antennas import PlanarArray as Array
from channels.antennas import dft_array_gain, sector_gain_db, tilted
from channels.laws import AntennaLaw
from nmoe_sim.engine.radio.antennas import Isotropic, PlanarArray, Sector
from nmoe_sim.scenario.spec import Spec

DIRECTIONS = np.random.default_rng(5).uniform([-np.pi, -np.pi / 2], [np.pi, np.pi / 2], (4000, 2)).T
LAWS = [
    Isotropic(gain_dbi=2.0),
    Sector(downtilt_deg=10.0),
    PlanarArray(downtilt_deg=10.0),
    PlanarArray(element="isotropic", oversampling=1, row_spacing_wavelengths=0.9),
]


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "gain_dbi"),
    [
        # TR 38.901, Table 7.3-1, worked by hand: 8 dBi - min(12 (φ/65)² + 12 (ε/65)², 30), each term at most 30
        (0, 0, 8.0),
        (32.5, 0, 5.0),
        (-32.5, 0, 5.0),
        (0, 32.5, 5.0),
        (0, -32.5, 5.0),
        (65, 0, -4.0),
        (32.5, 32.5, 2.0),
        (65, 65, -16.0),
        (90, 0, 8 - 12 * (90 / 65) ** 2),
        (102.7, 0, 8 - 12 * 1.58**2),
        (103, 0, -22.0),
        (180, 0, -22.0),
        (-180, 45, -22.0),
        (0, 90, 8 - 12 * (90 / 65) ** 2),
        (70, 80, -22.0),
    ],
)
def test_sector_pattern(azimuth_deg: float, elevation_deg: float, gain_dbi: float) -> None:
    gain_db = Sector().gain_db(np.array(0), np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg))
    assert gain_db == pytest.approx(gain_dbi, abs=1e-9)
    # whole turns make no difference
    assert sector_gain_db(np.deg2rad(azimuth_deg + 720), np.deg2rad(elevation_deg)) == pytest.approx(gain_dbi, abs=1e-9)


def test_sector_settings() -> None:
    law = Sector(max_gain_dbi=14.0, horizontal_beamwidth_deg=70.0, vertical_beamwidth_deg=10.0, front_to_back_db=25.0)
    azimuth, elevation = np.deg2rad([0, 35, 0, 0, 180]), np.deg2rad([0, 0, 5, 10, 0])
    np.testing.assert_allclose(law.gain_db(np.zeros(5, dtype=int), azimuth, elevation), [14, 11, 11, 2, -11])


def test_downtilt_turns_the_antenna() -> None:
    beta = np.deg2rad(12.0)
    law, upright = Sector(downtilt_deg=12.0), Sector()
    # The peak points below the horizon, and at the back above it.
    assert law.gain_db(np.array(0), 0.0, -beta) == pytest.approx(8.0)
    assert law.gain_db(np.array(0), 0.0, 0.0) == upright.gain_db(np.array(0), 0.0, beta)
    azimuth, elevation = tilted(np.pi, beta, beta)
    assert abs(azimuth) == pytest.approx(np.pi)
    assert elevation == pytest.approx(0.0, abs=1e-12)
    # The axis of the tilt stays, and so do angles between directions.
    np.testing.assert_allclose(tilted(np.pi / 2, 0.0, beta), (np.pi / 2, 0.0), atol=1e-12)
    before, after = vectors(*DIRECTIONS), vectors(*tilted(*DIRECTIONS, beta))
    np.testing.assert_allclose(after @ after[:10].T, before @ before[:10].T, atol=1e-12)


def vectors(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=-1
    )


def test_isotropic() -> None:
    assert np.all(Isotropic(gain_dbi=2.5).gain_db(np.zeros(4000, dtype=int), *DIRECTIONS) == 2.5)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_shapes_broadcast(law: AntennaLaw) -> None:
    azimuth, elevation = np.zeros((3, 1)), np.zeros(4)
    beam = law.beam_towards(azimuth, elevation)
    assert beam.shape == (3, 4)
    assert beam.dtype == np.int64
    assert law.gain_db(beam, azimuth, elevation).shape == (3, 4)
    assert law.gain_db(np.zeros((2, 1, 1), dtype=int), azimuth, elevation).shape == (2, 3, 4)
    assert law.gain_db(np.zeros(5, dtype=int), np.array(0.1), np.array(0.2)).shape == (5,)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_no_beam_is_stronger_than_the_chosen_one(law: AntennaLaw) -> None:
    directions = DIRECTIONS[:, :500]
    num_beams = Array(4, 8, oversampling=law.oversampling).num_beams if isinstance(law, PlanarArray) else 1
    best = law.gain_db(law.beam_towards(*directions), *directions)
    every = law.gain_db(np.arange(num_beams)[:, None], *directions)
    np.testing.assert_allclose(best, every.max(axis=0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("element", ["isotropic", "tr38901"])
def test_peak_is_the_array_gain_plus_the_elements(element: str) -> None:
    law = PlanarArray(num_rows=4, num_columns=8, element=element)
    boresight = law.beam_towards(np.array(0.0), np.array(0.0))
    element_dbi = 8.0 if element == "tr38901" else 0.0
    assert law.gain_db(boresight, 0.0, 0.0) == pytest.approx(10 * np.log10(32) + element_dbi)
    for gain_db in law.gain_db(law.beam_towards(*DIRECTIONS), *DIRECTIONS), law.gain_db(boresight, *DIRECTIONS):
        assert gain_db.max() <= 10 * np.log10(32) + element_dbi + 1e-9


def test_gain_is_the_sum_over_elements() -> None:
    array = Array(3, 5, row_spacing=0.7, column_spacing=0.4, oversampling=2)
    rng = np.random.default_rng(2)
    for azimuth, elevation in DIRECTIONS[:, :50].T:
        beam = int(rng.integers(array.num_beams))
        v, h = divmod(beam, 10)
        y, z = np.cos(elevation) * np.sin(azimuth), np.sin(elevation)
        total = 0.0 + 0.0j
        for row in range(3):
            for column in range(5):
                arriving = 2 * np.pi * (0.7 * row * z + 0.4 * column * y)
                weight = 2 * np.pi * (v * row / 6 + h * column / 10)
                total += np.exp(1j * (arriving - weight)) / np.sqrt(15)
        assert array.gain(beam, azimuth, elevation) == pytest.approx(abs(total) ** 2, rel=1e-9, abs=1e-12)


def test_beams_of_one_element_are_all_alike() -> None:
    law = PlanarArray(num_rows=1, num_columns=1)
    np.testing.assert_allclose(law.gain_db(np.array(3), *DIRECTIONS), Sector().gain_db(np.array(0), *DIRECTIONS))


def test_a_null_is_minus_infinity_without_a_warning() -> None:
    # Broadside beam of two elements half a wavelength apart, end-fire: the elements cancel.
    assert dft_array_gain(2, 0.5) == pytest.approx(0.0, abs=1e-30)
    law = PlanarArray(num_rows=1, num_columns=2, element="isotropic", oversampling=1)
    assert law.gain_db(np.array(0), np.pi / 2, 0.0) < -250


@pytest.mark.parametrize(
    ("law", "fields"),
    [
        (Isotropic, {"gain_dbi": 51.0}),
        (Sector, {"horizontal_beamwidth_deg": 0.0}),
        (Sector, {"front_to_back_db": -1.0}),
        (Sector, {"downtilt_deg": 91.0}),
        (PlanarArray, {"num_rows": 0}),
        (PlanarArray, {"oversampling": 0}),
        (PlanarArray, {"column_spacing_wavelengths": 0.0}),
        (PlanarArray, {"element": "dipole"}),
    ],
)
def test_wrong_fields_are_refused(law: type[Spec], fields: dict) -> None:
    with pytest.raises(ValidationError):
        law(**fields)
