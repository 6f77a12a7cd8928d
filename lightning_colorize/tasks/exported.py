"""Exported networks: safetensors files in half precision, read as checkpoints."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import atomic_file, temporary_beside

SUFFIX, ONNX, PROGRAM = ".safetensors", ".onnx", ".pt2"
EXPORTED = (SUFFIX, ONNX, PROGRAM)
"""Suffixes of exported files: this module's, and those of `tasks.graph`."""

_CONTENT, _DIGEST = "lightning_colorize", "sha256"
_BASELINES = "baselines."
_SMALL = 4096  # values of a tensor that stays in fp32, such as the statistics of a batch norm


def write_exported(
    file: Path,
    hyperparameters: Mapping[str, Any],
    state: Mapping[str, Tensor],
    baselines: Mapping[str, Tensor],
    decoding: Mapping[str, Any],
) -> None:
    """Write a network with what `read_exported` returns; an existing file is replaced.

    Raises:
        UsageError: If a weight is too large for half precision.
    """
    tensors = {**state, **{f"{_BASELINES}{name}": value for name, value in baselines.items()}}
    stored = {}
    for name, value in tensors.items():
        large = value.is_floating_point() and value.numel() >= _SMALL
        value = value.half() if large else value
        if not value.isfinite().all():
            raise UsageError(f"{name} has weights that half precision cannot hold")
        stored[name] = value.cpu().contiguous().clone()  # tied ones share memory
    content = json.dumps({"hyper_parameters": hyperparameters, "decoding": decoding})
    metadata = {_CONTENT: content, _DIGEST: _digest(stored, content)}
    with atomic_file(file, temporary_beside(file)) as opened:
        opened.write(save(stored, metadata))


def read_exported(file: Path) -> dict[str, Any]:
    """Return the content of an exported network in the form of a checkpoint.

    Raises:
        UsageError: If it has changed since it was written.
        Exception: Of nearly any class, if it is damaged or no such file.
    """
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        stored = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    content = metadata[_CONTENT]
    if metadata[_DIGEST] != _digest(stored, content):
        raise UsageError(f"{file} is damaged: it has changed since it was written")
    parsed = json.loads(content)
    tensors = {n: v.float() if v.is_floating_point() else v for n, v in stored.items()}
    fitted = {
        name.removeprefix(_BASELINES): tensors.pop(name)
        for name in stored
        if name.startswith(_BASELINES)
    }
    return {
        "hyper_parameters": parsed["hyper_parameters"],
        "state_dict": tensors,
        "datamodule_hyper_parameters": {},
        "callbacks": {"BaselineMetrics": {"baselines": fitted}} if fitted else {},
        "decoding": parsed["decoding"],
    }


def _digest(tensors: Mapping[str, Tensor], content: str) -> str:
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
