"""Two processes (gloo, CPU) against one."""

import subprocess

import pytest

from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands
from tests.distributed.launchers import FIT, end, start

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(900)]

# With group norm and no augmentation, only the order of the arithmetic differs.
SETTINGS = [
    *("--model.encoder.norm", "group", "--model.decoder", "UpsampleDecoder"),
    *(
        "--model.decoder.norm",
        "group",
        "--data.augmentation.flip",
        0,
        "--data.augmentation.crop_scale",
        "null",
    ),
    *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0.05),
]


@pytest.fixture(scope="module")
def runs(photo_folder, tmp_path_factory):
    """The run folders of one process and of two, and the output of the two."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("runs"))
    one = command.fit("one", *SETTINGS, "--data.batch_size", 4)
    two = ["--data.batch_size", 2, "--trainer.devices", 2, "--trainer.strategy", "ddp"]
    words = command.words("two", *SETTINGS, *two)
    # Without a name, the second process receives the first one's.
    del words[words.index("--run.name") : words.index("--run.name") + 2]
    (out,) = end(start(*FIT, *words, stdout=subprocess.PIPE))
    folders = [folder for folder in (command.root / "tiny").iterdir() if folder != one]
    assert len(folders) == 1, "each process has its own run folder"
    return one, folders[0], out


def test_two_processes_write_one_run_and_one_banner(runs):
    _, two, out = runs
    assert out.count("images    12 train") == 1
    assert "device    cpu x 2" in out
    assert "batch     4 = 2 x 2 processes x 1 accumulated" in out
    result = RunResult.read(two)
    assert (result.status, result.batches, result.images_seen) == ("finished", 6, 24)


def test_two_processes_have_the_metrics_of_one(runs):
    # Five and three images over two processes: none is padded or counted twice.
    first, second = (RunResult.read(run) for run in runs[:2])
    for name, value in first.metrics.items():
        if not name.startswith("train/"):
            assert second.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    for baseline in ("grey", "mean", "lut"):
        expected = pytest.approx(first.baselines[baseline], rel=1e-4, abs=1e-4)
        assert second.baselines[baseline] == expected
