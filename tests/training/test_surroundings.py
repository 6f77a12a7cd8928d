"""A disk that is full, a folder that takes nothing any more, a server that is gone."""

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
    """A small file system of its own, where others than root can look for it."""
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
    """Leave less room on a disk than a checkpoint takes."""
    statistics = os.statvfs(folder)
    free = statistics.f_bavail * statistics.f_frsize
    with (folder / "ballast").open("wb") as file:
        file.write(b"\0" * (free - 2 * statistics.f_frsize))


def lock_up(folder):
    """Take away the right to write, from root too (who reads no more of what is others')."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222 | 0o444)
    os.seteuid(65534)


def unlock(folder):
    """Give it back."""
    os.seteuid(os.getuid())
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def words(command, root, name):
    return command.words(name, *STEPS, "--run.root", root, "--data.grey_jitter", 0.5)


@pytest.mark.parametrize("wrong", ["full", "read-only"])
def test_disk_error_is_one_line_and_the_checkpoint_resumes(command, disk, at_batch, capsys, wrong):
    run = disk / "tiny" / "run"
    act, said = {
        "full": (fill, "No space left on device"),
        "read-only": (lock_up, "Permission denied"),
    }[wrong]
    at_batch(6, lambda: act(disk))
    capsys.readouterr()
    assert command("fit", *words(command, disk, "run")) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1, err
    assert said in err[-1]
    assert "the checkpoint of step 5 is intact" in err[-1]
    assert f"lightning-colorize resume {run}" in err[-1]
    for name in (LAST, BEST):
        torch.load(run / name, weights_only=True)
    assert not list((run / "checkpoints").glob(".*"))

    unlock(disk)
    (disk / "ballast").unlink(missing_ok=True)
    assert command("resume", run) == 0
    whole = command.fit("undisturbed", *STEPS, "--data.grey_jitter", 0.5)
    assert_same_run(run, whole)
