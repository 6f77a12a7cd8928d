"""A checkpoint as something that can be used."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference.rebuild import build_task
from lightning_colorize.metrics import Baselines
from lightning_colorize.networks import skip_weights
from lightning_colorize.runs.folder import checkpoint_of
from lightning_colorize.tasks import ColorizationTask

_OURS = "a checkpoint written by lightning-colorize fit"


@dataclass(frozen=True)
class LoadedTask:
    """A trained task and what was kept with it.

    Attributes:
        task: In evaluation mode, on its device.
        size: Height and width in pixels of the images that it was trained on.
        baselines: What was learnt from the training images without a network; None where the
            checkpoint was written before that.
        data_root: The folder that it was trained on, as it was given; None for another source.
        path: The checkpoint file.
    """

    task: ColorizationTask
    size: int
    baselines: Baselines | None
    data_root: str | None
    path: Path


def load_task(
    path: Path, allow: Sequence[str] = (), device: torch.device | str = "cpu"
) -> LoadedTask:
    """Load a checkpoint; nothing in it is executed but classes of this package and of torch.

    Args:
        path: The file, or a run folder: then its best checkpoint.
        allow: Classes, modules or packages that the checkpoint may name besides these.
        device: Where the task is to work.

    Raises:
        UsageError: If there is no such file, it is no checkpoint of ours, is damaged, names a class
            that is not allowed, or does not fit the classes as they are now.
    """
    file = checkpoint_of(path)
    checkpoint = _read(file)
    try:
        hyperparameters = checkpoint["hyper_parameters"]
        data = checkpoint["datamodule_hyper_parameters"]
        size, state, _ = int(data["size"]), checkpoint["state_dict"], hyperparameters["_class_path"]
    except (KeyError, TypeError):
        raise UsageError(f"{file} is not {_OURS}") from None
    task = _rebuild(file, hyperparameters, allow)
    task.on_load_checkpoint(checkpoint)
    try:
        task.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UsageError(_unfit(file, error)) from None
    return LoadedTask(
        task.eval().to(device), size, _baselines(checkpoint, device), data.get("root"), file
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError:
        raise UsageError(
            f"{file} is not {_OURS}: it holds Python objects, which are not loaded for safety"
        ) from None
    except Exception as error:  # a damaged file makes torch raise nearly any class
        raise UsageError(f"{file} is damaged, or not {_OURS}") from error
    if not isinstance(checkpoint, dict):
        raise UsageError(f"{file} is not {_OURS}")
    return checkpoint


def _rebuild(file: Path, hyperparameters: dict[str, Any], allow: Sequence[str]) -> ColorizationTask:
    with skip_weights(), warnings.catch_warnings():
        # Lightning warns that modules among the arguments are saved twice; nothing is saved here.
        warnings.filterwarnings("ignore", ".*is an instance of `nn.Module`.*")
        try:
            return build_task(hyperparameters, allow)
        except UsageError as error:
            raise UsageError(f"{file}: {error}") from None
        except (ImportError, TypeError, ValueError) as error:
            raise UsageError(_unfit(file, error)) from error


def _unfit(file: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{file} does not fit this version of lightning-colorize: {reason}"


def _baselines(checkpoint: dict[str, Any], device: torch.device | str) -> Baselines | None:
    """Return what the run's callback of that name learnt: callbacks/ is not imported here."""
    for key, state in checkpoint.get("callbacks", {}).items():
        if key.partition("{")[0].endswith("BaselineMetrics"):
            baselines = Baselines()
            baselines.load_state_dict(state["baselines"])
            return baselines.to(device) if baselines.pixels else None
    return None
