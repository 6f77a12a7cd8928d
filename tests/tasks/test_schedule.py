import math
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import Timer

from lightning_colorize.tasks.optimization import WarmupCosine, run_progress


def fake_trainer(step=0, batches=10, accumulate=1, **options):
    defaults = {"max_steps": -1, "max_epochs": None, "callbacks": [], "world_size": 1}
    return SimpleNamespace(
        global_step=step,
        num_training_batches=batches,
        accumulate_grad_batches=accumulate,
        **defaults | options,
    )


def make(warmup=0.1, final=0.01, rates=(1.0,)):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return WarmupCosine(torch.optim.SGD(groups, lr=1.0), warmup, final)


def rates(schedule):
    return [group["lr"] for group in schedule.optimizer.param_groups]


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.0, 0.01),  # not zero: the first step must have an effect
        (0.05, 0.5),
        (0.1, 1.0),
        (0.325, 0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2),
        (0.55, 0.505),
        (1.0, 0.01),
        (1.5, 0.01),
    ],
)
def test_linear_warmup_and_cosine_decay(progress, factor):
    assert make().factor(progress) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("trainer", "progress"),
    [
        (fake_trainer(5, max_steps=20), 0.25),
        (fake_trainer(5, max_epochs=4), 0.125),
        (fake_trainer(6, max_epochs=4, batches=5, accumulate=2), 0.5),  # 3 steps an epoch
        (fake_trainer(5, max_steps=10, max_epochs=100), 0.5),
        (fake_trainer(5, max_epochs=-1), 0.0),
        (fake_trainer(50, max_steps=20), 1.0),
    ],
)
def test_progress_is_that_of_the_most_used_budget(trainer, progress):
    assert run_progress(trainer) == pytest.approx(progress)


def test_time_is_a_budget_too(monkeypatch):
    timer = Timer(timedelta(seconds=100))
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 30.0)
    trainer = fake_trainer(5, max_steps=100, callbacks=[timer])
    assert run_progress(trainer) == pytest.approx(0.3)
