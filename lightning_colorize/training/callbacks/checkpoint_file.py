"""Atomic checkpoint files."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.plugins.io import CheckpointIO, TorchCheckpointIO

from lightning_colorize.common.digest import append_digest
from lightning_colorize.common.files import atomic_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints with a digest to a temporary file in the same folder, then renames it.

    Lightning's is in the system's temporary folder: a kill or a full disk may leave half of it. It
    writes to URLs, without a digest.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; if that fails, the previous one stays."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        # One name, so that what a killed process leaves is overwritten.
        with atomic_file(target, target.with_name(f".{target.name}.tmp")) as file:
            torch.save(checkpoint, file)
            append_digest(file)


def with_atomic_checkpoints(plugins: Any) -> list[Any]:
    """Return a Trainer's plugins, with `AtomicCheckpointIO` unless one writes checkpoints."""
    given = plugins if isinstance(plugins, list) else [] if plugins is None else [plugins]
    if any(isinstance(plugin, CheckpointIO) for plugin in given):
        return given
    return [*given, AtomicCheckpointIO()]
