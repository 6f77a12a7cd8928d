"""Precision and number of processes that follow from the Trainer's arguments."""

import os
from typing import Any, Literal

import torch

_GPU = ("auto", "gpu", "cuda")


def default_precision(accelerator: str) -> Literal["bf16-mixed", "32-true"]:
    """Return bf16-mixed on GPUs that support it natively, where it is twice as fast."""
    on_gpu = accelerator in _GPU and torch.cuda.is_available()
    if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    return "32-true"


def several_processes(accelerator: str, devices: Any, num_nodes: int) -> bool:
    """Return whether a Trainer with these arguments trains in more than one process."""
    if num_nodes > 1 or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return True
    if isinstance(devices, list):
        return len(devices) > 1
    if devices in ("auto", -1, "-1"):
        return accelerator in _GPU and torch.cuda.device_count() > 1
    if isinstance(devices, str) and not devices.isdigit():
        # A list of indices; Lightning validates the rest.
        return len([part for part in devices.split(",") if part.strip()]) > 1
    return int(devices) > 1
