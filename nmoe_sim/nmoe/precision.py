"""Number format of products and convolutions in training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]


def products_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Compute products and convolutions in a number format while the context lasts.

    With ``bf16`` their operands are rounded to bfloat16 (8 exponent and 7 fraction bits), as of
    ``torch.autocast``; sums inside a product are kept in single precision. Double precision stays as it is.
    """
    if precision == "fp32":
        return nullcontext()  # entering autocast takes as long as a small product
    # each weight is used once: torch's cache of rounded weights, which threads share, would only be in the way
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def compute_forward_in(precision: Precision, module: nn.Module) -> None:
    """Let a module compute as under ``products_in``, from now on; what it returns has its input's dtype.

    What is done with the output, such as a loss, isn't touched.
    """
    if precision == "fp32":
        return
    forward: Callable[..., Tensor] = module.forward

    def rounded(x: Tensor, *others: Tensor) -> Tensor:
        with products_in(precision, x.device):
            out = forward(x, *others)
        return out.to(x.dtype)

    module.forward = rounded
