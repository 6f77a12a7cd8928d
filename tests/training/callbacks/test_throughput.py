import csv
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_colorize.color import ColorBatch
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.callbacks import Throughput, throughput
from tests.conftest import metric_rows
from tests.training.callbacks.conftest import fake_trainer

WAIT, WORK, HOOKS = 1.0, 3.0, 0.5


class Run:
    """A fake Trainer that drives a callback on a simulated clock; `logged` has (step, metrics)."""

    def __init__(self, monkeypatch, callback, device="cpu"):
        self.now = 100.0
        monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: self.now))
        self.throughput = callback
        self.task = SimpleNamespace(device=torch.device(device))
        self.loader = SimpleNamespace(asked=0.0, waited=0.0)
        self.logged = []
        logger = SimpleNamespace(log_metrics=lambda *args: self.logged.append(args[::-1]))
        self.trainer = fake_trainer(
            train_dataloader=self.loader, loggers=[logger], log_every_n_steps=2
        )
        callback.on_train_start(self.trainer, self.task)

    def batch(self, wait=WAIT, work=WORK):
        """Train on a batch; other callbacks and the loggers then take their time."""
        self.loader.asked = self.now
        self.now += wait
        self.loader.waited += wait
        batch = ColorBatch(torch.zeros(4, 1, 2, 2), torch.zeros(1), [])
        self.now += work
        self.trainer.global_step += 1
        self.throughput.on_train_batch_end(self.trainer, self.task, None, batch, 0)
        self.now += HOOKS

    def batches(self, count, **times):
        for _ in range(count):
            self.batch(**times)

    def validate(self, seconds=70.0):
        self.throughput.on_validation_start(self.trainer, self.task)
        self.now += seconds


@pytest.fixture
def run(monkeypatch):
    """A run after the warm-up."""
    run = Run(monkeypatch, Throughput())
    run.batches(throughput.WARM_UP, wait=50.0, work=60.0)
    return run


def test_validations_checkpoints_and_epoch_ends_are_excluded(run):
    run.batches(3)
    run.validate()
    run.batches(2)
    run.throughput.state_dict()
    run.now += 40.0  # while it is written
    run.batches(1)
    run.throughput.on_train_epoch_end(run.trainer, run.task)
    run.now += 30.0
    run.batches(1)
    run.validate()
    run.validate()
    result = run.throughput.result()
    assert run.throughput.totals.seconds == pytest.approx(7 * (WAIT + WORK + HOOKS))
    assert result["data_wait_share"] == round(WAIT / (WAIT + WORK + HOOKS), 4)
    assert result["steady_images_per_second"] == round(4 / (WAIT + WORK + HOOKS), 2)


def test_peak_memory_of_training(monkeypatch):
    peak = 9 * 2**30  # of an earlier run of this process

    def reset(device):
        nonlocal peak
        peak = 0

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    run = Run(monkeypatch, Throughput(), device="cuda")
    run.batches(throughput.WARM_UP)
    assert run.throughput.state_dict()["memory"] == 0
    peak = 3 * 2**30
    run.batches(1)
    assert run.logged[0][1]["throughput/peak_memory"] == 3
    peak = 2 * 2**30
    run.validate()
    assert run.throughput.result()["peak_device_memory"] == 3 * 2**30


def test_throughput_is_in_the_result_and_in_all_loggers(finished_run):
    result = RunResult.read(finished_run)
    assert result.steady_images_per_second > result.images_per_second
    assert 0 < result.data_wait_share < 1
    assert result.device_hours == pytest.approx(result.seconds / 3600, abs=1e-5)
    assert result.peak_device_memory is None
    names = {"throughput/images_per_second", "throughput/data_wait"}
    with (finished_run / "throughput.csv").open() as file:
        rates = list(csv.DictReader(file))
    assert rates[0].keys() == names | {"step"}
    assert [row["step"] for row in rates] == ["3", "4", "5"]
    assert not [name for name in metric_rows(finished_run)[0] if "throughput" in name]
    curves = EventAccumulator(str(finished_run / "tensorboard")).Reload()
    for name in names:
        logged = curves.Scalars(name)
        assert [event.step for event in logged] == [3, 4, 5]
        assert [event.value for event in logged] == pytest.approx([float(r[name]) for r in rates])
