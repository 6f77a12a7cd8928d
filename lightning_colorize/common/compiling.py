"""Whether torch.compile works on this machine, and pays for a run."""

import math
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.common.processes import is_first_process

if TYPE_CHECKING:
    import torch

Compile = bool | Literal["auto"]
"""Whether a part of a run is compiled; `auto`: on CUDA, if the run is long enough."""

CompileNetworks = Compile | Literal["reduce-overhead"]
"""The same of networks; `reduce-overhead`: as CUDA graphs."""

_STEPS = 10_000  # pay for about a minute of compilation
_SECONDS = 30 * 60  # of `max_time`, which do


@cache
def compiler_fault(device: "torch.device") -> str | None:
    """Return why torch.compile does not work, tried on a minimal function; None if it works."""
    import torch

    try:
        torch.compile(lambda values: values * 2)(torch.ones(8, device=device))
    except Exception as error:  # from the compiler, Triton or torch: nearly any class
        needed = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        works = f"torch.compile does not work here ({first_line(error)})"
        return f"{works}; for {device.type} it needs {needed}"
    return None


@cache
def _report(line: str) -> None:
    """Print a line once, for networks and data path together."""
    if is_first_process():
        print(line, file=sys.stderr)


def planned_steps(trainer: Any) -> float:
    """Return the steps of a run: infinite without a limit, 0 without our data module."""
    data: Any = getattr(trainer, "datamodule", None)
    if not hasattr(data, "counts"):
        return 0
    limit, most = trainer.limit_train_batches, (trainer.max_steps, trainer.max_epochs)
    # The last incomplete batch of an epoch is left out.
    batches: float = max(1, data.counts()["train"] // (data.batch_size * trainer.world_size))
    batches = min(batches, limit) if isinstance(limit, int) else batches * limit
    steps, epochs = (math.inf if number == -1 else float(number) for number in most)
    return min(steps, epochs * batches)


def compiles(option: str, setting: bool | str, trainer: Any) -> bool:
    """Return whether a run compiles what an option is about, before it starts.

    Raises:
        UsageError: If it must, and torch.compile does not work.
    """
    device, automatic = trainer.strategy.root_device, setting == "auto"
    if not setting or (automatic and not (device.type == "cuda" and _pays(trainer))):
        return False
    fault = compiler_fault(device)
    if fault is not None and not automatic:
        raise UsageError(f"--{option}: {str(setting).lower()}\naccepted: false: {fault}")
    if fault is not None:
        _report(f"not compiled: {fault}")
    return fault is None


def _pays(trainer: Any) -> bool:
    from pytorch_lightning.callbacks import Timer

    if planned_steps(trainer) < _STEPS:
        return False
    times = (timer.time_remaining() for timer in trainer.callbacks if isinstance(timer, Timer))
    return all(left is None or left >= _SECONDS for left in times)
