"""A full disk, and a folder that becomes read-only."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

from lightning_colorize.runs.folder import BEST, LAST
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.slow

STEPS = ["--run.save_every_n_steps", 1, "--trainer.max_epochs", 3]


@pytest.fixture
def disk():
    """A file system of 8 MB that is not restricted to root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("mounting a file system needs root")
    yield folder
    os.seteuid(os.getuid())
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def fill(folder):
    """Leave less free space than a checkpoint needs."""
    statistics = os.statvfs(folder)
    free = statistics.f_bavail * statistics.f_frsize
    with (folder / "ballast").open("wb") as file:
        file.write(b"\0" * (free - 2 * statistics.f_frsize))


def make_read_only(folder):
    """Remove write permission and root's privileges, which would bypass it."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222 | 0o444)
    os.seteuid(65534)


def make_writable(folder):
    os.seteuid(os.getuid())
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def words(command, root, name):
    return command.words(name, *STEPS, "--run.root", root, "--data.grey_jitter", 0.5)


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_disk_error_is_one_line_and_the_checkpoint_resumes(command, disk, at_batch, capsys, fault):
    run = disk / "tiny" / "run"
    break_disk, message = {
        "full": (fill, "No space left on device"),
        "read-only": (make_read_only, "Permission denied"),
    }[fault]
    at_batch(6, lambda: break_disk(disk))
    capsys.readouterr()
    assert command("fit", *words(command, disk, "run")) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1, err
    assert message in err[-1]
    assert "the checkpoint of step 5 is intact" in err[-1]
    assert f"lightning-colorize resume {run}" in err[-1]
    for name in (LAST, BEST):
        torch.load(run / name, weights_only=True)
    assert not list((run / "checkpoints").glob(".*"))

    make_writable(disk)
    (disk / "ballast").unlink(missing_ok=True)
    assert command("resume", run) == 0
    uninterrupted = command.fit("uninterrupted", *STEPS, "--data.grey_jitter", 0.5)
    assert_same_run(run, uninterrupted)
