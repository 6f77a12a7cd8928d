"""Arithmetic in whole fp32, whatever training does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# By torch's newer names alone: where these say something else than the older ones (`allow_tf32`,
# `set_float32_matmul_precision`), it refuses to read the older.
_PRODUCTS: Any = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]


def set_tf32(on: bool) -> Callable[[], None]:
    """Let fp32 products on tensor cores round their factors to 10 bits, or not.

    Args:
        on: For matrix products and convolutions alike.

    Returns:
        A function that sets all back to what it was.
    """
    before = [product.fp32_precision for product in _PRODUCTS]
    for product in _PRODUCTS:
        product.fp32_precision = "tf32" if on else "ieee"

    def set_back() -> None:
        for product, precision in zip(_PRODUCTS, before, strict=True):
            product.fp32_precision = precision

    return set_back


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Autocast nothing on the tensor's device, and round no factors to TF32.

    Not for what is to be compiled: to be entered outside of it.
    """
    set_back = set_tf32(False)
    try:
        with torch.autocast(tensor.device.type, enabled=False):
            yield
    finally:
        set_back()
