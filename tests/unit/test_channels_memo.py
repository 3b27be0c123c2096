"""Functions that remember."""

import numpy as np
import pytest

from channels import memo
from channels.memo import Memo


class Counted:
    """Squares, and which keys were computed."""

    def __init__(self) -> None:
        self.keys: list[int] = []

    def __call__(self, keys: np.ndarray) -> np.ndarray:
        self.keys += keys.tolist()
        return np.stack([keys, keys**2], axis=1).astype(np.float64)


def test_each_key_is_computed_once_and_answers_follow_the_order_of_the_question() -> None:
    squares = Counted()
    remembered = Memo(squares)
    for keys in ([3, 1, 3], [1], [2, 3, 2], []):
        question = np.array(keys, dtype=np.int64)
        np.testing.assert_array_equal(remembered(question), np.stack([question, question**2], axis=1))
    assert squares.keys == [3, 1, 2]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "MOST_KEYS", 8)
    squares = Counted()
    remembered = Memo(squares)
    for first in range(0, 40, 3):
        assert remembered(np.arange(first, first + 4))[:, 1].tolist() == [k**2 for k in range(first, first + 4)]
        assert len(remembered._row) <= 8
    squares.keys.clear()
    remembered(np.arange(5))  # more than half of what it may hold
    remembered(np.arange(5))
    assert squares.keys == [*range(5), *range(5)]
