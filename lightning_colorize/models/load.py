"""Loading models from files; only trusted classes are executed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_colorize.common.class_paths import (
    Trust,
    build,
    find_class_paths,
    untrusted_classes,
)
from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.data.sources import Source
from lightning_colorize.metrics import Baselines
from lightning_colorize.models.base import Model, TrainedNetwork
from lightning_colorize.models.checkpoint import (
    DECODING,
    describe_parts,
    read_checkpoint,
    rebuild_task,
)
from lightning_colorize.models.exported import ONNX, PROGRAM
from lightning_colorize.models.graph import read_graph
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.models.settings import LARGEST
from lightning_colorize.runs.folder import checkpoint_of, run_of
from lightning_colorize.runs.record import RunRecord

DESCRIBED = (".yaml", ".yml")
"""Suffixes of files that name the class of a model."""


def load_model(
    path: Path | str, allow: Sequence[str] = (), device: torch.device | str = "cpu"
) -> Model:
    """Load a model; only trusted classes in its file are executed.

    Trusted are the classes of this package and of torch, the ones in `allow`, and, for a checkpoint
    in a run folder, the networks, losses, optimizers and sources listed in the run's `config.yaml`.

    Args:
        path: A checkpoint, an exported file, a YAML file with the `class_path` of a model,
            or a run folder, whose best checkpoint is loaded.
        allow: Additional classes, modules or packages that the file may import.
        device: Device of the model; `auto` is the GPU if there is one.

    Raises:
        UsageError: If the file does not exist, is not a lightning-colorize checkpoint, is damaged,
            names an untrusted class, or does not fit the classes.
    """
    file = checkpoint_of(Path(path))
    if isinstance(device, str):
        device = choose_device(device)
    if file.suffix in (ONNX, PROGRAM):
        if file.suffix == PROGRAM and "torch.export" not in allow:
            raise UsageError(
                f"{file} can execute code: torch.export unpickles what it reads; if you trust its "
                "origin, add --allow-class torch.export"
            )
        return read_graph(file)
    if file.suffix in DESCRIBED:
        return _described(file, allow, device)
    checkpoint = read_checkpoint(file)
    data, stored = checkpoint.get("datamodule_hyper_parameters", {}), checkpoint.get(DECODING, {})
    size = stored.pop("size", data.get("size"))
    if type(size) is not int or not 1 <= size <= LARGEST:
        raise UsageError(
            f"{file} is not a checkpoint of lightning-colorize: its image size is {size!r:.40}, "
            f"not 1 to {LARGEST}; train with ColorizationDataModule"
        )
    task = rebuild_task(file, checkpoint, TrainedNetwork, trust_of(file, allow))
    # Channels last makes convolutions an eighth faster on a CPU.
    task = task.eval().to(device).to(memory_format=torch.channels_last)
    model: Model = task.to_model()
    if isinstance(model, NetworkModel):
        model.description = describe_parts(checkpoint["hyper_parameters"], model.network)
    model.path, model.size = file, size
    model.baselines = _baselines(checkpoint, device)
    model.data_root = data.get("root")
    try:
        model.settings = model.settings.updated(stored)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    return model


def choose_device(name: str) -> torch.device:
    """Return the device for `auto` (the GPU if there is one), `cpu` or `cuda`.

    Raises:
        UsageError: If the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"{name} is not a device: use auto, cpu or cuda") from None


def require_size(size: int) -> None:
    """Require an image size of 1 to 16384 pixels."""
    if not 1 <= size <= LARGEST:
        raise UsageError(f"size must be from 1 to {LARGEST} pixels, not {size}")


def trust_of(file: Path, allow: Sequence[str]) -> Trust:
    """Return the trust for a checkpoint or a run's configuration."""
    run = run_of(file.resolve())
    config = {} if run is None else RunRecord(run).config
    listed = set(find_class_paths([config.get("model"), config.get("data")]))
    return Trust(allow, listed, bases=(nn.Module, Source, Optimizer, LRScheduler))


def classes_to_allow(run: Path) -> list[str]:
    """Return the classes of a run's model that need `--allow-class` even in the run folder.

    These are custom classes other than networks, losses, optimizers and schedules, such as an
    argument of an encoder.
    """
    try:
        return untrusted_classes(RunRecord(run).config.get("model"), trust_of(run, ()))
    except (ImportError, UsageError):
        return []  # a function, which no option can allow


def _described(file: Path, allow: Sequence[str], device: torch.device) -> Model:
    """Return the model of a YAML file with a class path."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        content = None  # reported below
    if not isinstance(content, Mapping) or "class_path" not in content:
        raise UsageError(f"{file} describes no model: it has no class_path")
    try:
        model: Model = build(dict(content), Model, Trust(allow)).to(device)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    except Exception as error:  # custom classes can raise any exception
        reason = first_line(error)
        raise UsageError(f"{file}: {content['class_path']} cannot be built: {reason}") from error
    model.path = file
    return model


def _baselines(checkpoint: dict[str, Any], device: torch.device) -> Baselines | None:
    """Return the state of the `BaselineMetrics` callback, which is not imported here."""
    baselines = Baselines()
    for key, state in checkpoint.get("callbacks", {}).items():
        if key.partition("{")[0].endswith("BaselineMetrics"):
            baselines.load_state_dict(state["baselines"])
    return baselines.to(device) if baselines.pixels else None
