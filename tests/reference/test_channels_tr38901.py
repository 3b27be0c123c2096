"""TR 38.901 against the formulas of ``channels/tables``, evaluated as they stand there, one scalar at a time."""

import ast
import csv
import math
import operator
from collections.abc import Iterator
from importlib import resources
from itertools import product

import numpy as np
import pytest

from channels import path_loss
from channels.environments import ENVIRONMENTS

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}
FUNCTIONS = {"log10": math.log10, "log": math.log, "exp": math.exp, "min": min}


def evaluate(formula: str, **values: float) -> float:
    def value_of(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=float() | int() as number):
                return number
            case ast.Name(id=name):
                return math.pi if name == "pi" else values[name]
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](value_of(left), value_of(right))
            case ast.UnaryOp(op=op, operand=operand):
                return OPERATORS[type(op)](value_of(operand))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return FUNCTIONS[name](*map(value_of, arguments))
        raise ValueError(f"{formula}: {ast.dump(node)}")

    return float(value_of(ast.parse(formula.replace("^", "**"), mode="eval").body))


def table(name: str) -> list[dict[str, str]]:
    text = (resources.files("channels") / "tables" / f"tr38901_{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


PATH_LOSS = table("path_loss")
LOS_PROBABILITY = table("los_probability")
CORRELATION = {row["environment"]: row for row in table("correlation_distances")}
CLUTTER = {row["environment"]: row for row in table("factory_clutter")}
DISTANCES_M = (0.9, 1.2, 3.0, 6.4, 6.5, 10.0, 17.9, 18.0, 18.1, 49.0, 60.0, 153.0, 171.0, 599.0, 2400.0, 5000.0, 9900.0)
CARRIERS_GHZ = (0.5, 2.0, 3.5, 28.0, 100.0)
HEIGHTS_M = ((10.0, 1.5), (25.0, 4.0), (35.0, 22.5), (3.0, 1.2), (8.0, 1.5), (150.0, 10.0))
STREETS = {"street_width_m": 12.0, "building_height_m": 9.0}


def settings_of(environment: str) -> Iterator[dict[str, float]]:
    yield {}
    if environment == "rma":
        yield STREETS


def rows_of(environment: str, state: str) -> list[dict[str, str]]:
    return [row for row in PATH_LOSS if row["environment"] == environment and row["state"] == state]


def expected(
    environment: str, d2d: float, fc: float, h_bs: float, h_ut: float, los: bool, settings: dict[str, float]
) -> tuple[str, float, float]:
    """Term that holds, path loss and σ, as the table says."""
    values = {"d2D": d2d, "d3D": math.hypot(d2d, h_bs - h_ut), "fc": fc, "hBS": h_bs, "hUT": h_ut}
    values["W"], values["h"] = settings.get("street_width_m", 20.0), settings.get("building_height_m", 5.0)
    los_rows = rows_of(environment, "los")
    holding = los_rows[0]
    for row in rows_of(environment, ""):
        values["dBP"] = evaluate(row["formula_db"], **values)
        holding = los_rows[d2d > values["dBP"]]
    terms = [(evaluate(holding["formula_db"], **values), "los/" + holding["term"])]
    if not los:
        holding = rows_of(environment, "nlos")[-1]
        terms += [(evaluate(row["formula_db"], **values), row["term"]) for row in rows_of(environment, "nlos")]
    loss_db, term = max(terms)
    return term, loss_db, float(holding["std_db"])


def test_the_tables_are_of_the_known_environments() -> None:
    for rows in (PATH_LOSS, LOS_PROBABILITY, CORRELATION.values()):
        assert {row["environment"] for row in rows} == set(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_path_loss_and_shadow_fading(environment: str) -> None:
    terms = set()
    for los, (h_bs, h_ut), fc_ghz, settings in product(
        (True, False), HEIGHTS_M, CARRIERS_GHZ, settings_of(environment)
    ):
        distances_m = [d for d in DISTANCES_M if math.hypot(d, h_bs - h_ut) >= 1.0]
        arguments = {
            "distance_2d_m": distances_m,
            "carrier_hz": fc_ghz * 1e9,
            "height_bs_m": h_bs,
            "height_ut_m": h_ut,
            "los": los,
            **settings,
        }
        want = [expected(environment, d, fc_ghz, h_bs, h_ut, los, settings) for d in distances_m]
        terms |= {term for term, _, _ in want}
        loss_db = path_loss.tr38901(environment, **arguments)
        np.testing.assert_allclose(loss_db, [w[1] for w in want], rtol=0, atol=1e-9)
        std_db = path_loss.shadow_fading_std_db(environment, **arguments)
        np.testing.assert_array_equal(std_db, [w[2] for w in want])
    possible = {"los/" + row["term"] for row in rows_of(environment, "los")}
    possible |= {row["term"] for row in rows_of(environment, "nlos")}
    assert terms == possible  # every formula decides somewhere


@pytest.mark.parametrize(("environment", "office"), sorted({(r["environment"], r["office"]) for r in LOS_PROBABILITY}))
def test_los_probability(environment: str, office: str) -> None:
    rows = [r for r in LOS_PROBABILITY if r["environment"] == environment and r["office"] == office]
    clutter = CLUTTER.get(environment, {"density": "0", "size_m": "1", "height_m": "0"})
    for h_bs, h_ut in ((8.0, 1.5), (25.0, 1.0), (10.0, 1.9), (25.0, 13.0), (25.0, 22.5)):
        if environment.startswith("inf") and h_ut > float(clutter["height_m"]):
            continue  # above the clutter the formula would amplify; see the unit tests
        values = {
            "C": max(0.0, (h_ut - 13.0) / 10.0) ** 1.5,
            "r": float(clutter["density"]),
            "s": float(clutter["size_m"]),
            "hc": float(clutter["height_m"]),
            "hBS": h_bs,
            "hUT": h_ut,
        }
        want = []
        for d in DISTANCES_M:
            is_last_excluded = environment == "inh" and office == "mixed" and d == 6.5
            row = rows[-1] if is_last_excluded else next(r for r in rows if d <= float(r["up_to_m"]))
            want.append(min(1.0, evaluate(row["probability"], d=d, **values)))  # UMa exceeds 1 beyond 18 m
        probability = path_loss.los_probability(
            environment, distance_2d_m=DISTANCES_M, height_bs_m=h_bs, height_ut_m=h_ut, office=office or "mixed"
        )
        np.testing.assert_allclose(probability, want, rtol=1e-12)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_correlation_distances(environment: str) -> None:
    row, law = CORRELATION[environment], ENVIRONMENTS[environment]
    assert law.shadow_decorrelation_m(True) == float(row["shadow_los_m"])
    assert law.shadow_decorrelation_m(False) == float(row["shadow_nlos_m"])
    assert law.los_decorrelation_m == float(row["los_state_m"])


@pytest.mark.parametrize("environment", CLUTTER)
def test_default_clutter_is_that_of_the_calibration(environment: str) -> None:
    row = CLUTTER[environment]
    arguments = {"distance_2d_m": DISTANCES_M, "height_bs_m": float(row["height_bs_m"]), "height_ut_m": 1.2}
    np.testing.assert_array_equal(
        path_loss.los_probability(environment, **arguments),
        path_loss.los_probability(
            environment,
            **arguments,
            clutter_density=float(row["density"]),
            clutter_size_m=float(row["size_m"]),
            clutter_height_m=float(row["height_m"]),
        ),
    )


def test_umi_worked_by_hand() -> None:
    # 3.5 GHz, 10 m and 1.5 m: break point 4·9·0.5·3.5e9/3e8 = 210 m; log10 of d3D is 2.001563 at 100 m
    # and 2.699033 at 500 m, log10(3.5) is 0.544068, log10(210² + 8.5²) is 4.645150.
    loss_db = path_loss.tr38901(
        "umi",
        distance_2d_m=[100.0, 100.0, 500.0],
        carrier_hz=3.5e9,
        height_bs_m=10.0,
        height_ut_m=1.5,
        los=[True, False, True],
    )
    np.testing.assert_allclose(loss_db, [85.3142, 104.6438, 107.1138], rtol=0, atol=5e-4)


def test_macro_cell_is_the_well_known_law_at_2_ghz() -> None:
    distances_m = np.array([100.0, 500.0, 1000.0, 10_000.0])
    loss_db = path_loss.tr36942_macro(distances_m, 2e9)
    np.testing.assert_allclose(loss_db, 128.1 + 37.6 * np.log10(distances_m / 1000.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("rooftop_m", [5.0, 15.0, 40.0])
@pytest.mark.parametrize("carrier_mhz", [900.0, 2000.0])
def test_macro_cell_is_tr_36942_but_for_the_rounding_of_its_constant(carrier_mhz: float, rooftop_m: float) -> None:
    for distance_m in (100.0, 1000.0, 7000.0):
        general_db = (
            40 * (1 - 4e-3 * rooftop_m) * math.log10(distance_m / 1000)
            - 18 * math.log10(rooftop_m)
            + 21 * math.log10(carrier_mhz)
            + 80
        )
        loss_db = path_loss.tr36942_macro(distance_m, carrier_mhz * 1e6, antenna_above_rooftop_m=rooftop_m)
        assert general_db - loss_db == pytest.approx(0.052, abs=1e-4)


def test_macro_cell_at_900_mhz_as_tr_36942_states_it() -> None:
    assert path_loss.tr36942_macro(1000.0, 900e6) == pytest.approx(120.9, abs=0.1)
