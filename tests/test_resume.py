"""A run that was stopped and resumed equals one that never was, bit for bit."""

import csv
import itertools
import os
import signal

import pytest
import torch
from pytorch_lightning import Callback

from lightning_colorize.run_folder import read_result

TIMES = ("seconds", "images_per_second")

# Everything that draws or remembers: crops, flips, grey jitter, dropout, momentum, a schedule.
STATEFUL = [
    *("--data.grey_jitter", "0.5", "--data.rotation", "5"),
    *("--model.scheduler", "lightning_colorize.tasks.WarmupCosine"),
    *("--run.save_every_n_steps", "2"),
]
CASES = {
    "epochs": [],
    "steps": ["--trainer.max_epochs", "-1", "--trainer.max_steps", "8"],
    "short_epochs": ["--trainer.limit_train_batches", "2", "--trainer.max_epochs", "3"],
    "accumulated": ["--trainer.accumulate_grad_batches", "2", "--data.batch_size", "2"],
    "validated_often": ["--trainer.val_check_interval", "2", "--data.batch_size", "2"],
    "plateau": [
        *("--model.scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"),
        *("--model.scheduler.patience", "0", "--trainer.max_epochs", "4"),
        *("--model.optimizer.lr", "0.1"),
    ],
    "averaged": [
        *("--trainer.callbacks", "pytorch_lightning.callbacks.EMAWeightAveraging"),
        *("--trainer.callbacks.decay", "0.9"),
    ],
}


class Stop(Callback):
    """Sends a signal to this process at a training batch, the first time it comes there."""

    after: int = 0
    number = signal.SIGINT

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.fit_loop.total_batch_idx + 1 == Stop.after:
            Stop.after = 0
            signal.raise_signal(self.number)


@pytest.fixture
def stop_after(monkeypatch):
    """Return a function that has the next run interrupted in its n-th batch."""
    from lightning_colorize import training

    monkeypatch.setattr(training, "progress_callbacks", lambda: [Stop()])

    def set_batch(number, which=signal.SIGINT):
        Stop.after, Stop.number = number, which

    yield set_batch
    Stop.after = 0


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same_run(resumed, undisturbed):
    """Weights, metrics and result are equal but for times."""
    mine, theirs = weights(resumed), weights(undisturbed)
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not different
    assert rows(resumed) == rows(undisturbed)
    results = [read_result(run) for run in (resumed, undisturbed)]
    for result in results:
        for name in (*TIMES, "restarts"):
            del result[name]
    assert results[0] == results[1]


@pytest.mark.parametrize("case", CASES)
def test_resumed_equals_undisturbed_wherever_it_was_stopped(command, stop_after, case):
    options = [*STATEFUL, *CASES[case]]
    undisturbed = command.fit("undisturbed", *options)
    batches = read_result(undisturbed)["batches"]
    for batch in range(1, batches + 1):
        name = f"stopped-{batch}"
        stop_after(batch)
        code = command("fit", *command.words(name, *options))
        run = command.root / "tiny" / name
        if code == 130:
            assert read_result(run)["status"] == "interrupted"
            assert command("resume", run) == 0
            assert read_result(run)["restarts"] == 1
        print(case, batch, code)
        assert_same_run(run, undisturbed)
