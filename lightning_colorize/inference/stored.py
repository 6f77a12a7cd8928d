"""A checkpoint's own decoding."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable
from lightning_colorize.runs.folder import lock, run_of
from lightning_colorize.tasks.checkpoint import DECODING, read_checkpoint
from lightning_colorize.tasks.exported import EXPORTED
from lightning_colorize.training.callbacks.checkpoint_file import AtomicCheckpointIO


def require_storable(file: Path) -> None:
    """Refuse a checkpoint that cannot be changed.

    Raises:
        UsageError: If it is an exported model, or its folder is not writable.
    """
    if file.suffix in EXPORTED:
        raise UsageError(f"{file} is an exported model; store in its checkpoint, and export again")
    require_writable(file, "--store")


def store_decoding(file: Path, decoding: Mapping[str, Any]) -> None:
    """Store the decoding with which `load_model` loads a checkpoint from now on.

    Args:
        file: The checkpoint, which is replaced by one with the same weights.
        decoding: Arguments of `Colorizer.set_decoding`, and the `size`.

    Raises:
        UsageError: If the run is being trained, or `require_storable` refuses the file.
    """
    require_storable(file)
    file = file.resolve()
    run = run_of(file)
    with nullcontext() if run is None else lock(run):
        checkpoint = read_checkpoint(file)
        checkpoint[DECODING] = dict(decoding)
        AtomicCheckpointIO().save_checkpoint(checkpoint, file)
