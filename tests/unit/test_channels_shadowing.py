import numpy as np
import pytest

from channels.shadowing import PairField
from nmoe_sim.rng import RandomStreams

FIELD = PairField(RandomStreams(1).uniform, "shadowing", decorrelation_m=20.0)
POSITIONS_M = RandomStreams(1).generator("positions").uniform(-3000.0, 3000.0, (70, 2))
A, B = POSITIONS_M[:30], POSITIONS_M[30:]


def test_both_ways_of_asking_agree() -> None:
    matrix = FIELD.matrix(A, B)
    assert matrix.shape == (30, 40)
    np.testing.assert_allclose(matrix, FIELD.at(A[:, None], B), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(matrix, FIELD.matrix(FIELD.phasors(A), FIELD.phasors(B)))


def test_a_matrix_of_more_rows_than_are_worked_on_at_once() -> None:
    many = np.tile(A, (20, 1)) + np.arange(600)[:, None]
    np.testing.assert_allclose(FIELD.matrix(many, B[:3]), FIELD.at(many[:, None], B[:3]), rtol=0, atol=1e-12)


def test_a_value_is_a_function_of_its_own_pair_to_the_last_bit() -> None:
    every = FIELD.at(A[:, None], B)
    singly = np.array([[FIELD.at(a, b) for b in B] for a in A])
    np.testing.assert_array_equal(every, singly)
    np.testing.assert_array_equal(FIELD.at(A[::-1, None], B[::-1]), every[::-1, ::-1])
    np.testing.assert_array_equal(FIELD.at(A[3:20, None], B[:7]), every[3:20, :7])
    np.testing.assert_array_equal(FIELD.at(np.concatenate([B, A]), A[0])[40:], FIELD.at(A, A[0]))


def test_batches_larger_than_are_worked_on_at_once() -> None:
    path = np.cumsum(np.full((4000, 2), 0.37), axis=0)
    values = FIELD.at(path, B[0])
    np.testing.assert_array_equal(values[1020:1030], FIELD.at(path[1020:1030], B[0]))


def test_a_value_is_that_of_the_pair_in_either_order() -> None:
    np.testing.assert_array_equal(FIELD.at(A[:, None], B), FIELD.at(B, A[:, None]))
    np.testing.assert_allclose(FIELD.matrix(A, A), FIELD.matrix(A, A).T, rtol=0, atol=1e-12)


def test_shapes_broadcast() -> None:
    assert FIELD.at(A[0], B[0]).shape == ()
    assert FIELD.at(np.zeros((5, 1, 2)), np.zeros((4, 2))).shape == (5, 4)
    assert FIELD.at(np.zeros((0, 2)), np.zeros(2)).shape == (0,)
    assert FIELD.matrix(np.zeros((0, 2)), B).shape == (0, 40)


def test_a_field_is_a_function_of_its_seed_and_name() -> None:
    again = PairField(RandomStreams(1).uniform, "shadowing", decorrelation_m=20.0)
    np.testing.assert_array_equal(again.at(A, A[0]), FIELD.at(A, A[0]))
    for other in (
        PairField(RandomStreams(2).uniform, "shadowing", decorrelation_m=20.0),
        PairField(RandomStreams(1).uniform, "los", decorrelation_m=20.0),
    ):
        assert np.all(other.at(A, A[0]) != FIELD.at(A, A[0]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"decorrelation_m": 0.0}, r"decorrelation_m is 0.0; it must be above 0"),
        ({"decorrelation_m": float("nan")}, r"decorrelation_m is nan"),
        ({"decorrelation_m": 1.0, "num_waves": 12}, r"num_waves is 12; it must be a positive multiple of 8"),
        ({"decorrelation_m": 1.0, "num_waves": 0}, r"num_waves is 0"),
    ],
)
def test_wrong_arguments(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairField(RandomStreams(1).uniform, "s", **wrong)
