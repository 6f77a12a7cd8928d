"""Full fp32 precision, whatever precision training uses: a setting of the process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Use only torch's newer names. If they differ from the older ones (`allow_tf32`,
# `set_float32_matmul_precision`), torch raises when the older ones are read.
_PRODUCTS: Any = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]


def set_tf32(on: bool) -> Callable[[], None]:
    """Switch TF32 on or off for products and convolutions; return a function that restores it."""
    before = [product.fp32_precision for product in _PRODUCTS]
    for product in _PRODUCTS:
        product.fp32_precision = "tf32" if on else "ieee"

    def restore() -> None:
        for product, precision in zip(_PRODUCTS, before, strict=True):
            product.fp32_precision = precision

    return restore


class ProcessSetting:
    """A setting of the process that is changed while at least one thread is inside.

    Args:
        change: Changes the setting; returns a function that restores it.
    """

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._restore = self._change()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore()


_NO_TF32 = ProcessSetting(lambda: set_tf32(False))


def at_least_fp32(x: Tensor) -> Tensor:
    """Return a floating tensor in fp32; fp64 stays fp64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Disable autocast on the tensor's device, and TF32.

    Enter it outside of compiled functions: a graph cannot switch TF32. Gradients are computed
    later, with the precision set at that time.
    """
    # Tensors on `meta` have no values, and no autocast.
    device = "cpu" if tensor.is_meta else tensor.device.type
    with _NO_TF32, torch.autocast(device, enabled=False):
        yield
