"""Whether torch.compile works on this machine."""

from functools import cache
from typing import TYPE_CHECKING

from lightning_colorize.common.errors import UsageError, first_line

if TYPE_CHECKING:
    import torch


@cache
def require_compiler(option: str, device: "torch.device") -> None:
    """Check that torch.compile works, on a minimal function, before a run starts."""
    import torch

    try:
        torch.compile(lambda values: values * 2)(torch.ones(8, device=device))
    except Exception as error:  # from the compiler, Triton or torch: nearly any class
        needed = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        raise UsageError(
            f"--{option}: true\naccepted: false: torch.compile does not work here "
            f"({first_line(error)}); for {device.type} it needs {needed}"
        ) from error
