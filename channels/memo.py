"""Functions of integers that remember what they were asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_KEYS = 1 << 17
"""Keys a memo holds before it forgets them all: some 20 MB."""


class Memo:
    """Values of integer keys, computed when they are first asked for.

    Nodes keep their places from one event to the next, so what depends on places alone is asked again and
    again for the same few pairs; a look-up costs 0.1 µs a pair, and a law a thousand times as much a call.

    Parameters
    ----------
    compute : callable
        ``compute(keys [n])`` gives values [n, ...], each a function of its own key alone.

    Notes
    -----
    A question about more than half of ``MOST_KEYS`` is answered without being remembered.
    """

    def __init__(self, compute: Callable[[IntArray], FloatArray]) -> None:
        self._compute = compute
        self._row: dict[int, int] = {}
        self._values: FloatArray = np.empty(0)

    def __call__(self, keys: IntArray) -> FloatArray:
        """Return the values of keys [n], [n, ...]."""
        if not len(keys) or len(keys) > MOST_KEYS // 2:
            return self._compute(keys)
        wanted = keys.tolist()
        new = [key for key in dict.fromkeys(wanted) if key not in self._row]
        if new:
            if len(self._row) + len(new) > MOST_KEYS:
                self._row.clear()
                new = list(dict.fromkeys(wanted))
            self._remember(new)
        return np.asarray(self._values[[self._row[key] for key in wanted]])

    def _remember(self, keys: list[int]) -> None:
        values = self._compute(np.array(keys, dtype=np.int64))
        start, end = len(self._row), len(self._row) + len(keys)
        if end > len(self._values):
            grown = np.empty((max(end, 2 * start), *values.shape[1:]), dtype=values.dtype)
            if start:
                grown[:start] = self._values[:start]
            self._values = grown
        self._values[start:end] = values
        self._row.update(zip(keys, range(start, end), strict=True))
