"""Checkpoints that runs logged to Weights & Biases as artifacts, named in place of a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError, first_line

ARTIFACT = "wandb:"
"""Prefix of the names of artifacts, in place of a path."""
CHECKPOINT = "model.ckpt"
"""The checkpoint in an artifact; Lightning's WandbLogger gives it the same name."""

RUN_KEY = "run"
"""Key of the metadata with the experiment and the name of the run."""

_TIMEOUT = 10  # seconds for each answer of the server


def is_artifact(path: Path) -> bool:
    """Return whether a path is the name of an artifact."""
    return str(path).startswith(ARTIFACT)


def download(path: Path) -> Path:
    """Download the checkpoint of `wandb:ENTITY/PROJECT/ARTIFACT:ALIAS` to the cache of W&B.

    Raises:
        UsageError: If the name is incomplete, the user is not logged in, the server does not
            respond, or there is no such artifact.
    """
    with explained_download(path):
        import wandb

        artifact = find_artifact(path)
        folder = Path(wandb.env.get_cache_dir(), "checkpoints", artifact.digest)
        artifact.download(root=str(folder), skip_cache=True, path_prefix=CHECKPOINT)
    return folder / CHECKPOINT


def find_artifact(path: Path) -> Any:
    """Return the `wandb.Artifact` of a name; it has a checkpoint."""
    name = str(path).removeprefix(ARTIFACT)
    if name.count("/") != 2 or ":" not in name:
        raise ValueError(f"give {ARTIFACT}ENTITY/PROJECT/ARTIFACT:ALIAS")
    # W&B would ask for an API key on a terminal.
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    artifact = wandb.Api(timeout=_TIMEOUT).artifact(name)
    if CHECKPOINT not in artifact.manifest.entries:
        raise ValueError(f"the artifact has no {CHECKPOINT}")
    return artifact


@contextmanager
def explained_download(path: Path) -> Iterator[None]:
    """Turn the errors of a download into one line."""
    try:
        yield
    except Exception as error:  # of W&B, requests, or the disk
        raise UsageError(f"{path} cannot be downloaded: {first_line(error)}") from error
