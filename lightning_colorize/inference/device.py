"""The device of a command."""

import torch

from lightning_colorize.common.errors import UsageError


def choose_device(name: str) -> torch.device:
    """Return the device for `auto` (the GPU if there is one), `cpu` or `cuda`.

    Raises:
        UsageError: If the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu")
    return torch.device(name)
