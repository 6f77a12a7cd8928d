"""Conditions for resuming a run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.artifacts import (
    ARTIFACT,
    CHECKPOINT,
    RUN_KEY,
    explained_download,
    find_artifact,
)
from lightning_colorize.runs.folder import LAST, WANDB_ID, flatten, read_config

# Settings that locate the run.
_OF_THE_FOLDER = {"run.root", "run.experiment", "run.name", "run.auto_resume"}

# How the network is computed, where a loss's network or teacher is read, and what is measured.
_OF_THE_MODEL = re.compile(
    r"model\.init_args\.(compile|channels_last|encoder\.init_args\.size"
    r"|loss\..*(backbone\.init_args\.weights|teacher)|metrics(\..*)?)"
)
# The checkpoint contains it, an epoch would have two orders, validations would not compare, or it
# would do nothing.
_KEPT = re.compile(
    r"(model|seed_everything|data\.(seed|size|resize)|trainer\.(callbacks|fast_dev_run"
    r"|limit_val_batches|overfit_batches)|run\.(root|experiment|name|auto_resume|monitor|mode"
    r"|smoothing))(\..*)?"
)


def is_kept(name: str) -> bool:
    """Return whether a resumed run keeps a setting, given with dotted names: `data.size`."""
    return bool(_KEPT.fullmatch(name)) and not _OF_THE_MODEL.fullmatch(name)


class RunEnded(Exception):
    """The run has nothing left to do."""


def refuse_other_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to resume a run with settings that differ from its configuration.

    Settings that only one of them has are ignored: a newer version may resume a run.
    """
    changes = _changes(folder, config)
    options = [option for name, option in changes.items() if name not in _OF_THE_FOLDER]
    if options:
        raise UsageError(
            f"{folder} has other settings: {', '.join(options)}; give another --run.name, "
            f"or change the run: {COMMAND} resume {folder} --KEY VALUE"
        )


def refuse_settings_of_checkpoint(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to change settings that a resumed run keeps."""
    changes = _changes(folder, config)
    options = [option for name, option in changes.items() if is_kept(name)]
    if options:
        raise UsageError(
            "a resumed run keeps its folder, seed, model, optimizer, validation and callbacks: "
            f"{', '.join(options)}; start another run with fit"
        )


def download_run(path: Path, root: Path) -> Path:
    """Download the run folder of an artifact to `root/<experiment>/<run name>`, to be resumed.

    Raises:
        UsageError: Same as in `download`; also if the artifact is not the last checkpoint of a run,
            or the folder exists.
    """
    with explained_download(path):
        artifact = find_artifact(path)
        names = Path(str(artifact.metadata.get(RUN_KEY))).parts
        if WANDB_ID not in artifact.manifest.entries or len(names) != 2 or {"/", ".."} & {*names}:
            raise ValueError(f"resume needs an artifact of a run, such as {ARTIFACT}...:last")
        folder = root.joinpath(*names)
        if folder.exists():
            raise ValueError(f"{folder} exists; resume it, or move it away")
        # Complete files of an interrupted download are not downloaded again.
        partial = folder.with_name(f".{folder.name}.download")
        artifact.download(root=str(partial), skip_cache=True)
        (partial / LAST).parent.mkdir(exist_ok=True)
        (partial / CHECKPOINT).rename(partial / LAST)
        partial.rename(folder)
    return folder


def _changes(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that differ from a run's, by name: option, value, former value."""
    old, new = flatten(read_config(folder)), flatten(config)
    for one, other in ((old, new), (new, old)):
        # A class in place of null has settings of its own.
        for name in [name for name, value in one.items() if value is None and name not in other]:
            if (path := other.get(f"{name}.class_path")) is not None:
                other[name] = path
    # As text: a number in YAML may be a string on a command line (`--trainer.devices 1`).
    return {
        name: f"--{name.replace('.init_args', '')} {_text(new[name])} (the run has {_text(value)})"
        for name, value in old.items()
        if name in new and str(new[name]) != str(value)
    }


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
