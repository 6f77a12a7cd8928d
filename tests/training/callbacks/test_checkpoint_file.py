"""Checkpoints are written atomically."""

import errno

import pytest
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightning_colorize.runs.folder import BEST, LAST
from lightning_colorize.training.callbacks.checkpoint_file import (
    AtomicCheckpointIO,
    with_atomic_checkpoints,
)


def write_half(checkpoint, file):
    """Stand in for `torch.save` on a disk that fills up."""
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_failed_write_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", write_half)
        with pytest.raises(OSError, match="No space"):
            io.save_checkpoint({"step": 2}, path)
    assert io.load_checkpoint(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


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


def test_a_full_disk_ends_a_run_in_one_line(command, monkeypatch, capsys):
    saved, save = [], torch.save

    def save_twice(checkpoint, file):
        saved.append(file.name)
        (save if len(saved) <= 2 else write_half)(checkpoint, file)

    monkeypatch.setattr(torch, "save", save_twice)
    assert command("fit", *command.words("run", "--run.save_every_n_steps", 1)) == 1
    run = command.root / "tiny" / "run"
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1, err
    assert "No space left on device; the checkpoint of step 2 is intact" in err[0]
    assert err[0].endswith(f"lightning-colorize resume {run}")
    assert torch.load(run / LAST, weights_only=True)["global_step"] == 2
    assert not (run / BEST).exists()
    monkeypatch.undo()
    assert command("resume", run) == 0


def test_full_disk_without_checkpoint(command, monkeypatch, capsys):
    monkeypatch.setattr(torch, "save", write_half)
    assert command("fit", *command.words("run")) == 1
    assert "there is no checkpoint yet" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_full_disk_beside_a_damaged_checkpoint(command, stop_in, monkeypatch, capsys, damage):
    """The step that is said to be intact is that of the checkpoint which is."""
    stop_in(5)
    assert command("fit", *command.words("run")) == 130
    run = command.root / "tiny" / "run"
    whole = (run / LAST).read_bytes()
    flipped = bytes([whole[len(whole) // 2] ^ 1])
    end = flipped + whole[len(whole) // 2 + 1 :] if damage == "flipped" else b""
    (run / LAST).write_bytes(whole[: len(whole) // 2] + end)
    monkeypatch.setattr(torch, "save", write_half)
    capsys.readouterr()
    assert command("resume", run) == 1
    best = torch.load(run / BEST, weights_only=True)["global_step"]
    assert f"the checkpoint of step {best} is intact: free space" in capsys.readouterr().err
