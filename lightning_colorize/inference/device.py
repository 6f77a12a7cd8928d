"""The device that works, as a user names it."""

import torch

from lightning_colorize.common.errors import UsageError


def choose_device(name: str) -> torch.device:
    """Return the device for `auto` (the GPU where there is one), `cpu` or `cuda`.

    Raises:
        UsageError: If there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return torch.device(name)
