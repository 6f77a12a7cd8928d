"""Checkpoint files that are whole or not there, whatever ends the process that writes them."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.plugins.io import CheckpointIO, TorchCheckpointIO


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the file, then takes its place.

    Lightning writes into the folder for temporary files and moves the result; where that is on
    another file system (a cluster's nodes), moving is copying, which a kill or a full disk leaves
    half done in place of the former checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; if that fails, the former one stays and nothing else is left."""
        whole = Path(path)
        written = whole.with_name(f".{whole.name}.tmp")
        whole.parent.mkdir(parents=True, exist_ok=True)
        try:
            with written.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(written, whole)
        except BaseException:
            written.unlink(missing_ok=True)
            raise


def with_whole_checkpoints(plugins: Any) -> list[Any]:
    """Return a Trainer's plugins, with `WholeCheckpoints` unless they write checkpoints.

    Args:
        plugins: As configured: None, one, or a list.
    """
    given = plugins if isinstance(plugins, list) else [] if plugins is None else [plugins]
    if any(isinstance(plugin, CheckpointIO) for plugin in given):
        return given
    return [*given, WholeCheckpoints()]
