"""torch.compile: whether it works here, and which errors are its own."""

from functools import cache
from typing import TYPE_CHECKING

from lightning_colorize.common.errors import UsageError

if TYPE_CHECKING:
    import torch


@cache
def require_compiler(option: str, device: "torch.device") -> None:
    """Refuse to compile where that does not work, before a run has begun.

    Args:
        option: What asks for it.
        device: What is compiled for.

    Raises:
        UsageError: If a line of arithmetic cannot be compiled.
    """
    import torch

    try:
        torch.compile(lambda values: values * 2)(torch.ones(8, device=device))
    except Exception as error:  # of the system's compiler, Triton or torch: nearly any class
        needed = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        raise UsageError(
            f"--{option}: true\naccepted: false: torch.compile does not work here "
            f"({first_line(error)}); for {device.type} it needs {needed}"
        ) from error


def is_compiler_error(error: BaseException) -> bool:
    """Say whether an error comes from torch.compile, not from what was compiled."""
    return type(error).__module__.startswith(("torch._dynamo.", "torch._inductor."))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says anything, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__
