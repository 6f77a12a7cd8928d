"""Full fp32 precision, whatever precision training uses: a setting of the process."""

import os
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
    """Switch TF32 on or off for matrix products and convolutions.

    Returns:
        A function that restores the former setting.
    """
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
        self._threads: list[int] = []
        if hasattr(os, "register_at_fork"):
            # A child would find a lock that another thread holds locked forever.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._keep_own,
            )

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._restore = self._change()
            self._threads.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads.remove(threading.get_ident())
            if not self._threads:
                self._restore()

    def _keep_own(self) -> None:
        """Drop the threads that a forked child does not have."""
        before, own = self._threads, threading.get_ident()
        self._threads = [each for each in before if each == own]
        if before and not self._threads:
            self._restore()
        self._lock.release()


_NO_TF32 = ProcessSetting(lambda: set_tf32(False))


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
