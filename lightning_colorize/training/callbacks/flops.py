"""How much arithmetic a training step is, and how much of it a device could do.

Lightning's `measure_flops` runs a forward and a backward pass of its own, and takes a network for a
step: it knows neither two networks that train each other nor what a task does around them. Here
torch's counter, on which it stands, looks on while a real batch is trained. Nothing is computed
that would not be, no gradient, statistic of batch norm or random number is another, and a GAN's
step is counted as it is.

Lightning's `get_available_flops` is taken for the peak of a device, but for those of which its
table has figures for sparse matrices, another name than torch's, or another device's (it takes an
L40S for an L4).
"""

from contextlib import ExitStack

import torch
from lightning_fabric.utilities.throughput import get_available_flops
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_Arithmetic = torch.dtype | str
_TF32 = "tfloat32"


def _dense(float32: float, tf32: float, half: float) -> dict[_Arithmetic, float]:
    """Return peaks of dense matrices from those in TFLOPs per second."""
    kinds: tuple[_Arithmetic, ...] = (torch.float32, _TF32, torch.bfloat16, torch.float16)
    peaks = (float32, tf32, half, half)
    return {kind: peak * 1e12 for kind, peak in zip(kinds, peaks, strict=True)}


# From NVIDIA's data sheets, under the names that torch has for the devices.
_PEAKS = {
    "NVIDIA B200": _dense(75.0, 1125.0, 2250.0),
    **dict.fromkeys(("NVIDIA H200", "NVIDIA GH200 480GB"), _dense(66.9, 494.7, 989.4)),
    **dict.fromkeys(("NVIDIA H200 NVL", "NVIDIA H100 NVL"), _dense(60.0, 417.5, 835.5)),
    "NVIDIA L40S": _dense(91.6, 183.0, 362.0),
    "NVIDIA L40": _dense(90.5, 90.5, 181.0),
    "NVIDIA RTX A6000": _dense(38.7, 77.4, 154.8),
    "NVIDIA GeForce RTX 4090": _dense(82.6, 82.6, 165.2),
    "NVIDIA GeForce RTX 3090": _dense(35.6, 35.6, 71.0),
}


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the FLOPs per second that a device reaches at most; None where that is not known.

    Args:
        device: On which networks are trained.
        precision: Lightning's name of it, such as `bf16-mixed`; `32-true` counts as TF32 where
            convolutions may use it.
    """
    if device.type != "cuda":
        return None
    dtype = _arithmetic(device, precision)
    known = _PEAKS.get(torch.cuda.get_device_name(device))
    return get_available_flops(device, dtype) if known is None else known.get(dtype)


def _arithmetic(device: torch.device, precision: str) -> _Arithmetic:
    """Return in what networks compute."""
    if precision.startswith("bf16"):
        return torch.bfloat16
    if precision.startswith("16"):
        return torch.float16
    if precision.startswith("64"):
        return torch.float64
    # Almost all arithmetic of these networks is convolutions, which have a switch of their own.
    tf32 = torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    has_tf32 = torch.cuda.get_device_capability(device) >= (8, 0)
    return _TF32 if tf32 and has_tf32 else torch.float32


class StepCounter:
    """Counts what is computed from `start` to `stop`, on this thread and in its backward passes.

    Compiled networks are not compiled meanwhile: the counter would not see into them.
    """

    def __init__(self) -> None:
        self._counter = FlopCounterMode(display=False)
        self._open: ExitStack | None = None

    def start(self, task: nn.Module) -> None:
        """Begin to count."""
        self._open = ExitStack()
        if any(module._compiled_call_impl is not None for module in task.modules()):
            self._open.enter_context(torch.compiler.set_stance("force_eager"))
        self._open.enter_context(self._counter)

    def stop(self) -> int | None:
        """Return the FLOPs since `start`; None if nothing was counted."""
        if self._open is None:
            return None
        self._open.close()
        self._open = None
        return self._counter.get_total_flops()
