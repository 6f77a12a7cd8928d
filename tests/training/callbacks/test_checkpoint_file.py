"""Checkpoints are written atomically."""

import errno

import pytest
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightning_colorize.runs.folder import BEST, LAST
from lightning_colorize.training.callbacks.checkpoints import (
    AtomicCheckpointIO,
    with_atomic_checkpoints,
)


def fill_up(checkpoint, file):
    """Stand in for `torch.save`, whose archive cannot be closed after the disk is full."""
    try:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904


def refuse(checkpoint, file):
    """Stand in for `torch.save` in a folder that became read-only."""
    raise PermissionError(errno.EACCES, "Permission denied", file.name)


def test_checkpoint_at_a_url_is_written_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    io = AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, "memory://checkpoints/last.ckpt")
    assert io.load_checkpoint("memory://checkpoints/last.ckpt", weights_only=True) == {"step": 1}
    assert not list(tmp_path.iterdir())


def test_configured_checkpoint_io_is_used():
    own = TorchCheckpointIO()
    assert with_atomic_checkpoints(own) == [own]
    assert with_atomic_checkpoints(["bitsandbytes", own]) == ["bitsandbytes", own]
    first, second = with_atomic_checkpoints("other")
    assert first == "other"
    assert isinstance(second, AtomicCheckpointIO)


@pytest.mark.parametrize(
    ("fail", "message"), [(fill_up, "No space left on device"), (refuse, "Permission denied")]
)
def test_a_disk_error_ends_a_run_in_one_line(command, monkeypatch, error_of, fail, message):
    saved, save = [], torch.save

    def save_twice(checkpoint, file):
        saved.append(file.name)
        (save if len(saved) <= 2 else fail)(checkpoint, file)

    monkeypatch.setattr(torch, "save", save_twice)
    err = error_of("fit", *command.words("run", "--run.save_every_n_steps", 1), code=1)
    run = command.root / "tiny" / "run"
    assert f"{run} cannot be written to: {message}; then run lightning-colorize resume" in err
    assert torch.load(run / LAST, weights_only=True)["global_step"] == 2
    assert not (run / BEST).exists()
    monkeypatch.undo()
    assert command("resume", run) == 0
