"""FLOPs of a training step and of a device at its peak.

Lightning's `measure_flops` runs a separate forward and backward pass of one network, so it does not
see a GAN's two networks or the rest of a task. Here torch's counter, which it uses, counts a real
training step: no gradient, batch norm statistic or random number changes.

The peak of a device is Lightning's `get_available_flops`, except where its table has figures for
sparse matrices, a name other than torch's, or another device (it takes an L40S for an L4).
"""

from contextlib import ExitStack

import torch
from lightning_fabric.utilities.throughput import get_available_flops
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_Arithmetic = torch.dtype | str
_TF32 = "tfloat32"


def _dense(float32: float, tf32: float, half: float) -> dict[_Arithmetic, float]:
    """Return the peaks for dense matrices, in FLOP/s, from TFLOP/s."""
    kinds: tuple[_Arithmetic, ...] = (torch.float32, _TF32, torch.bfloat16, torch.float16)
    peaks = (float32, tf32, half, half)
    return {kind: peak * 1e12 for kind, peak in zip(kinds, peaks, strict=True)}


# From NVIDIA's data sheets, by torch's device names.
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
    """Return the peak FLOP/s of a device; None if it is unknown.

    Args:
        device: The training device.
        precision: Lightning's name, such as `bf16-mixed`; `32-true` is TF32 if convolutions may use
            it.
    """
    if device.type != "cuda":
        return None
    dtype = _arithmetic(device, precision)
    known = _PEAKS.get(torch.cuda.get_device_name(device))
    return get_available_flops(device, dtype) if known is None else known.get(dtype)


def _arithmetic(device: torch.device, precision: str) -> _Arithmetic:
    """Return the arithmetic of the networks."""
    if precision.startswith("bf16"):
        return torch.bfloat16
    if precision.startswith("16"):
        return torch.float16
    if precision.startswith("64"):
        return torch.float64
    # Convolutions, nearly all of the arithmetic, have a switch of their own.
    tf32 = torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    has_tf32 = torch.cuda.get_device_capability(device) >= (8, 0)
    return _TF32 if tf32 and has_tf32 else torch.float32


class StepCounter:
    """Counts FLOPs from `start` to `stop`, on this thread and in its backward passes.

    Compiled networks run eagerly meanwhile, as the counter does not see into them.
    """

    def __init__(self) -> None:
        self._counter = FlopCounterMode(display=False)
        self._open: ExitStack | None = None

    def start(self, task: nn.Module) -> None:
        """Start counting."""
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
