"""One process and two learn the same from the same global batches; two nodes: test_torchrun.py."""

import re
from types import SimpleNamespace

import pytest
import torch

from lightning_colorize.runs.result import RunResult
from tests.conftest import TINY_NETWORK, Commands, metric_rows
from tests.distributed.launchers import complete
from tests.distributed.recorder import read_records
from tests.tasks.conftest import TINY_GAN

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(900)]

STEPS = 9

# Only the order of the arithmetic differs: no batch statistics, no random numbers.
EXACT = [
    *("--trainer.precision", "64-true", "--data.augmentation.flip", "0"),
    *("--data.augmentation.crop_scale", "null"),
    *("--trainer.max_epochs", "-1", "--trainer.max_steps", str(STEPS), "--run.test", "false"),
]
GROUP_NORM = [
    *("--model.encoder", "lightning_colorize.networks.ConvEncoder", "--model.encoder.widths"),
    *("[4,8]", "--model.encoder.norm", "group", "--model.decoder"),
    *("UpsampleDecoder", "--model.decoder.norm", "group"),
]
TASKS = {
    "regression": [
        *(word for pair in TINY_NETWORK.items() for word in pair),
        *(*GROUP_NORM, "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.05"),
    ],
    "cgan": [
        *(word for pair in TINY_GAN.items() if "encoder" not in pair[0] for word in pair),
        *(*GROUP_NORM, "--model.head", "AbHead", "--model.discriminator.norm", "group"),
        *("--model.generator_optimizer", "torch.optim.SGD"),
        *("--model.generator_optimizer.lr", "0.001"),
        *("--model.discriminator_optimizer", "torch.optim.SGD"),
        *("--model.discriminator_optimizer.lr", "0.01"),
    ],
}
TASKS["cgan in stages"] = [
    *(*TASKS["cgan"], "--model.generator_epochs", "1", "--model.discriminator_epochs", "1"),
    *("--model.accumulate_grad_batches", "2", "--model.generator_every_n_batches", "4"),
    *("--model.gradient_clip_val", "0.5"),
]


def train(command, processes, options):
    """Train in one or two processes; return the run, its output, and each process's records."""
    name = ["one", "two"][processes - 1]
    folder = command.root / f"records-{name}"
    folder.mkdir(parents=True)
    options = [*options, "--trainer.devices", processes, "--data.batch_size", 4 // processes]
    options += ["--trainer.callbacks+", "tests.distributed.recorder.BatchRecorder"]
    options += ["--trainer.callbacks.folder", folder, "--run.experiment", name]
    # Without a name, the second process receives the first one's.
    words = command.words("", *options, without=["--run.name"])
    out = folder / "out"
    complete("fit", *words, stdout=out)
    (run,) = (command.root / name).iterdir()
    weights = [torch.load(file, weights_only=True) for file in sorted(folder.glob("*.pt"))]
    return SimpleNamespace(
        folder=run, out=out.read_text(), weights=weights, records=read_records(folder)
    )


@pytest.fixture(scope="module", params=TASKS)
def runs(request, photo_folder, tmp_path_factory):
    """The runs of one task in float64, in one process and in two."""
    command = Commands(photo_folder, tmp_path_factory.mktemp(request.param))
    options = [*TASKS[request.param], *EXACT]
    return [train(command, processes, options) for processes in (1, 2)]


def test_weights_are_those_of_one_process(runs):
    one, two = runs
    (expected,), (first, second) = one.weights, two.weights
    for key, value in expected.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=0, atol=1e-9, msg=key)
    assert any(value.dtype == torch.float64 for value in expected.values())


def test_global_batches_are_those_of_one_process(runs):
    (expected,), parts = (run.records for run in runs)
    # Equal weights would prove nothing if they did not change.
    losses = [record["loss"] for record in expected if record["loss"]]
    assert abs(losses[-1] - losses[0]) > 1e-3
    assert STEPS <= len(expected) == len(parts[0]) == len(parts[1])
    for whole, *halves in zip(expected, *parts, strict=True):
        assert sorted(whole["names"]) == sorted(halves[0]["names"] + halves[1]["names"])
        assert not set(halves[0]["names"]) & set(halves[1]["names"])


def test_two_processes_write_one_run(runs):
    two = runs[1]
    assert two.out.count("images    12 train") == 1
    assert re.search(
        r"batch     (4 = 2 x 2 processes x 1|8 = 2 x 2 processes x 2) accumulated", two.out
    )
    first, second = (RunResult.read(run.folder) for run in runs)
    assert (second.batches, second.images_seen) == (first.batches, first.images_seen)
    # Five images over two processes: none is padded or counted twice.
    for table, other in ((first.metrics, second.metrics), (first.baselines, second.baselines)):
        assert table.keys() == other.keys()
    for name, value in first.metrics.items():
        if not name.startswith("train/"):
            assert second.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    rows = [[(row["step"], bool(row["val/psnr"])) for row in metric_rows(r.folder)] for r in runs]
    assert rows[0] == rows[1]
