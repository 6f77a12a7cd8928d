"""One process and two learn the same from the same global batches; two nodes: test_torchrun.py."""

import pytest
import torch

from lightning_colorize.cli import main
from lightning_colorize.runs.result import RunResult
from tests.conftest import TINY_NETWORK, Commands
from tests.distributed.launchers import two_processes
from tests.distributed.recorder import read_records
from tests.tasks.conftest import TINY_GAN

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(900)]

STEPS = 9

# Only the order of the arithmetic differs: no batch statistics, no random numbers.
EXACT = [
    *(
        "--trainer.precision",
        "64-true",
        "--data.augmentation.flip",
        "0",
        "--data.augmentation.crop_scale",
        "null",
    ),
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


class Runs:
    """Runs of one configuration, with the records of each process.

    The run `one` is a run of this process.
    """

    def __init__(self, photos, root, options):
        self.command = Commands(photos, root)
        self.options = options

    def fit(self, name):
        records = self.command.root / f"records-{name}"
        records.mkdir(parents=True)
        batch = 4 if name == "one" else 2
        words = self.command.words(name, *self.options, "--data.batch_size", batch)
        words += ["--trainer.callbacks+", "tests.distributed.recorder.BatchRecorder"]
        words += ["--trainer.callbacks.folder", str(records)]
        if name == "one":
            assert main(["fit", *words, "--trainer.devices", "1"]) == 0
        else:
            two_processes(words)
        return self.command.root / "tiny" / name

    def weights(self, name):
        files = sorted((self.command.root / f"records-{name}").glob("*.pt"))
        return [torch.load(file, weights_only=True) for file in files]

    def records(self, name):
        return read_records(self.command.root / f"records-{name}")


@pytest.fixture(scope="module", params=TASKS)
def exact(request, photo_folder, tmp_path_factory):
    """The runs of one task in float64."""
    root = tmp_path_factory.mktemp(request.param)
    runs = Runs(photo_folder, root, [*TASKS[request.param], *EXACT])
    for name in ("one", "two"):
        assert RunResult.read(runs.fit(name)).batches == STEPS
    return runs


def test_weights_are_those_of_one_process(exact):
    (expected,) = exact.weights("one")
    first, second = exact.weights("two")
    for key, value in expected.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=0, atol=1e-9, msg=key)
    assert any(value.dtype == torch.float64 for value in expected.values())


def test_global_batches_are_those_of_one_process(exact):
    (expected,) = exact.records("one")
    # Equal weights would prove nothing if they did not change.
    assert abs(expected[-1]["loss"] - expected[0]["loss"]) > 1e-3
    parts = exact.records("two")
    assert [len(part) for part in parts] == [STEPS, STEPS]
    for whole, *halves in zip(expected, *parts, strict=True):
        assert sorted(whole["names"]) == sorted(halves[0]["names"] + halves[1]["names"])
        assert not set(halves[0]["names"]) & set(halves[1]["names"])
