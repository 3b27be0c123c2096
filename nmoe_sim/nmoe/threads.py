"""One thread for values: the order of floating-point sums must not depend on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute tensor operations on one thread each, here and in threads started within; then as before.

    Results are then the same bits whatever OMP_NUM_THREADS and the number of cores. Usable as a decorator.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
