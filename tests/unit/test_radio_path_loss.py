import numpy as np
import pytest
from pydantic import ValidationError

from channels import LinkGeometry, path_loss
from channels.laws import PathLossLaw, ShadowingLaw
from nmoe_sim.engine.radio.path_loss import (
    FreeSpace,
    IndoorFactory,
    IndoorOffice,
    LogDistance,
    MacroCell,
    RuralMacro,
    UrbanMacro,
    UrbanMicro,
)
from nmoe_sim.engine.radio.shadowing import LogNormal, NoShadowing
from nmoe_sim.scenario.spec import Spec

GEOMETRY = LinkGeometry.between([5.0, 100.0, 400.0], 10.0, 1.5)
AS_ARGUMENTS = {"distance_2d_m": [5.0, 100.0, 400.0], "height_bs_m": 10.0, "height_ut_m": 1.5}
ALL_LOS = np.array([True, True, True])
SOME_LOS = np.array([True, False, False])
SPECS = (FreeSpace, LogDistance, MacroCell, UrbanMicro, UrbanMacro, RuralMacro, IndoorOffice, IndoorFactory)
TR38901 = (
    (UrbanMicro(), "umi", {}),
    (UrbanMacro(), "uma", {}),
    (RuralMacro(street_width_m=30.0, building_height_m=8.0), "rma", {"street_width_m": 30.0, "building_height_m": 8.0}),
    (IndoorOffice(office="open"), "inh", {}),
    *(
        (IndoorFactory(hall=hall, clutter_density=0.5), f"inf_{hall}", {"clutter_density": 0.5})
        for hall in ("sl", "dh")
    ),
)


def law_of(law: PathLossLaw) -> PathLossLaw:
    """Let the type checker see that specs are laws."""
    return law


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_every_spec_is_a_documented_law(spec: type[Spec]) -> None:
    law = law_of(spec())
    for los in (ALL_LOS, SOME_LOS):
        assert law.path_loss_db(GEOMETRY, carrier_hz=3.5e9, los=los).shape == (3,)
        assert law.shadow_fading_std_db(GEOMETRY, carrier_hz=3.5e9, los=los).shape == (3,)
    assert law.los_probability(GEOMETRY).shape == law.in_validity_range(GEOMETRY, carrier_hz=3.5e9).shape == (3,)
    assert law.in_validity_range(GEOMETRY, carrier_hz=3.5e9).dtype == np.bool_
    assert law.los_decorrelation_m >= 0.0
    assert law.shadow_decorrelation_m(True) > 0.0
    assert law.validity_range
    for name, field in spec.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(("law", "environment", "settings"), TR38901, ids=lambda x: getattr(x, "kind", None))
def test_a_tr38901_spec_is_its_environment(law: PathLossLaw, environment: str, settings: dict[str, float]) -> None:
    arguments = {**AS_ARGUMENTS, "carrier_hz": 3.5e9, "los": SOME_LOS}
    np.testing.assert_array_equal(
        law.path_loss_db(GEOMETRY, carrier_hz=3.5e9, los=SOME_LOS),
        path_loss.tr38901(environment, **arguments, **settings),
    )
    np.testing.assert_array_equal(
        law.shadow_fading_std_db(GEOMETRY, carrier_hz=3.5e9, los=SOME_LOS),
        path_loss.shadow_fading_std_db(environment, **arguments, **settings),
    )
    np.testing.assert_array_equal(
        law.los_probability(GEOMETRY),
        path_loss.los_probability(environment, **AS_ARGUMENTS, office="open", **settings),
    )
    arguments["los"] = False
    np.testing.assert_array_equal(
        law.in_validity_range(GEOMETRY, carrier_hz=3.5e9),
        path_loss.in_validity_range(environment, **arguments, **settings),
    )


@pytest.mark.parametrize("spec", [UrbanMicro, UrbanMacro, RuralMacro, IndoorOffice, IndoorFactory])
@pytest.mark.parametrize(("setting", "probability"), [("always", 1.0), ("never", 0.0)])
def test_line_of_sight_can_be_forced(spec: type[UrbanMicro], setting: str, probability: float) -> None:
    np.testing.assert_array_equal(spec(los=setting).los_probability(GEOMETRY), [probability] * 3)


def test_in_forced_line_of_sight_the_rural_range_is_the_longer_one() -> None:
    far = LinkGeometry.between([8000.0], 35.0, 1.5)
    assert not RuralMacro().in_validity_range(far, carrier_hz=2e9)
    assert RuralMacro(los="always").in_validity_range(far, carrier_hz=2e9)


def test_a_hall_has_the_tr_s_clutter_unless_told_otherwise() -> None:
    assert [IndoorFactory(hall=hall).los_decorrelation_m for hall in ("sl", "dl", "sh", "dh")] == [5.0, 1.0, 5.0, 1.0]
    assert IndoorFactory(clutter_size_m=3.0).los_decorrelation_m == 1.5
    # 10 m and 1.5 m: a base station in the clutter of 2 m is not what InF-SL is for
    assert not np.any(IndoorFactory(hall="sl").in_validity_range(GEOMETRY, carrier_hz=3.5e9))
    assert np.all(IndoorFactory(hall="sl", clutter_height_m=10.0).in_validity_range(GEOMETRY, carrier_hz=3.5e9))


def test_free_space_takes_the_3d_distance() -> None:
    law = FreeSpace()
    np.testing.assert_array_equal(
        law.path_loss_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS), path_loss.free_space(np.hypot([5, 100, 400], 8.5), 1e9)
    )
    np.testing.assert_array_equal(law.los_probability(GEOMETRY), np.ones(3))
    np.testing.assert_array_equal(law.shadow_fading_std_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS), np.zeros(3))
    # One wavelength at 20 MHz is 15 m.
    np.testing.assert_array_equal(law.in_validity_range(GEOMETRY, carrier_hz=20e6), [False, True, True])


def test_log_distance_passes_its_fields_on() -> None:
    law = LogDistance(exponent=4.0, reference_distance_m=20.0, shadow_std_db=6.0, decorrelation_m=7.0)
    loss_db = law.path_loss_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS)
    distance_m = np.hypot([100, 400], 8.5)
    np.testing.assert_allclose(loss_db[1:] - path_loss.free_space(20.0, 1e9), 40 * np.log10(distance_m / 20.0))
    np.testing.assert_array_equal(law.los_probability(GEOMETRY), np.ones(3))
    np.testing.assert_array_equal(law.shadow_fading_std_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS), [6.0] * 3)
    np.testing.assert_array_equal(law.in_validity_range(GEOMETRY, carrier_hz=1e9), [False, True, True])
    assert law.shadow_decorrelation_m(True) == law.shadow_decorrelation_m(False) == 7.0
    assert law.validity_range == "distances of at least 20 m"


def test_the_macro_cell_has_no_line_of_sight() -> None:
    law = MacroCell(antenna_above_rooftop_m=30.0, shadow_std_db=10.0, decorrelation_m=0.0)
    np.testing.assert_array_equal(
        law.path_loss_db(GEOMETRY, carrier_hz=2e9, los=ALL_LOS),
        path_loss.tr36942_macro(np.hypot([5, 100, 400], 8.5), 2e9, antenna_above_rooftop_m=30.0),
    )
    np.testing.assert_array_equal(law.los_probability(GEOMETRY), np.zeros(3))
    np.testing.assert_array_equal(law.shadow_fading_std_db(GEOMETRY, carrier_hz=2e9, los=ALL_LOS), [10.0] * 3)
    np.testing.assert_array_equal(law.in_validity_range(GEOMETRY, carrier_hz=2e9), [False, True, True])
    assert not np.any(law.in_validity_range(GEOMETRY, carrier_hz=3.5e9))
    assert law.shadow_decorrelation_m(False) == 0.0


def test_shadowing_takes_the_path_loss_laws_spread_unless_it_has_its_own() -> None:
    normal, std_db = np.array([1.0, -2.0]), np.array([4.0, 7.82])
    laws: tuple[ShadowingLaw, ...] = (LogNormal(), LogNormal(std_db=3.0), LogNormal(std_db=0.0), NoShadowing())
    expected = ([4.0, -15.64], [3.0, -6.0], [0.0, 0.0], [0.0, 0.0])
    for law, shadowing_db in zip(laws, expected, strict=True):
        np.testing.assert_array_equal(law.shadowing_db(normal, std_db), shadowing_db)


def test_shadowing_leaves_the_distance_to_the_path_loss_law_unless_it_has_its_own() -> None:
    assert LogNormal().decorrelation_m is None
    assert LogNormal(decorrelation_m=0.0).decorrelation_m == NoShadowing().decorrelation_m == 0.0


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (FreeSpace, {"exponent": 2.0}),
        (LogDistance, {"exponent": 0.0}),
        (LogDistance, {"reference_distance_m": 0.0}),
        (LogDistance, {"decorrelation_m": -1.0}),
        (MacroCell, {"antenna_above_rooftop_m": 51.0}),
        (UrbanMicro, {"los": "sometimes"}),
        (UrbanMicro, {"street_width_m": 20.0}),
        (RuralMacro, {"street_width_m": 0.0}),
        (IndoorOffice, {"office": "closed"}),
        (IndoorFactory, {"hall": "hh"}),
        (IndoorFactory, {"clutter_density": 1.0}),
        (LogNormal, {"std_db": -1.0}),
        (LogNormal, {"decorrelation_m": -1.0}),
    ],
)
def test_wrong_fields_are_refused(spec: type[Spec], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)
