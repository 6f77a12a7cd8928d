import math

import pytest
import torch

from lightning_colorize.losses import BCEAdversarial
from lightning_colorize.networks import PatchDiscriminator, UNetEncoder
from lightning_colorize.runs.result import RunResult
from lightning_colorize.tasks import CGANTask
from lightning_colorize.training.callbacks import GANHealth
from tests.training.callbacks.conftest import fake_trainer

HEALTHY = {"d_loss": 0.9, "d_accuracy": 0.8, "colorfulness_ratio": 0.8, "diversity": 0.7}
FAILURES = {
    "collapsed": {"d_loss": 1.5, "d_accuracy": 0.5},
    "winning": {"d_loss": 0.1, "d_accuracy": 0.99},
    "saturated": {"colorfulness_ratio": 2.1},
    "tinted": {"diversity": 0.1},
}


@pytest.fixture
def trainer():
    return fake_trainer()


@pytest.fixture(scope="module")
def task():
    return CGANTask(UNetEncoder(16, width=1), PatchDiscriminator(1, width=1), BCEAdversarial())


def run_batches(health, trainer, task, batches, every=10, **figures):
    """Run the callback; colors are measured in every tenth batch by default."""
    figures = {name: torch.tensor(float(value)) for name, value in {**HEALTHY, **figures}.items()}
    for _ in range(batches):
        trainer.global_step += 1
        names = figures if trainer.global_step % every == 0 else ("d_loss", "d_accuracy")
        outputs = {name: figures[name] for name in names}
        health.on_train_batch_end(trainer, task, outputs, None, trainer.global_step)


def test_healthy_training_has_no_warning(trainer, task, capsys):
    health = GANHealth(stop=True)
    run_batches(health, trainer, task, 500)
    assert not health.warnings
    assert not trainer.should_stop
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("stop", [False, True])
def test_each_failure_is_reported_once_and_may_stop_the_run(trainer, task, capsys, kind, stop):
    health = GANHealth(stop=stop)
    run_batches(health, trainer, task, 100)
    run_batches(health, trainer, task, 200, **FAILURES[kind])
    assert set(health.warnings) == {kind}
    err = capsys.readouterr().err
    # Colors must be wrong in two windows of 50 batches in a row.
    assert f"Health, batch {150 if 'd_loss' in FAILURES[kind] else 200}: " in err
    assert err.count("\n") == 1
    assert trainer.should_stop == health.stopped == stop


CHANCE = 2 * math.log(2)
BAD, GOOD = {"d_loss": 3.0, "d_accuracy": 0.4}, {"d_loss": 0.2, "d_accuracy": 1.0}
SATURATED = {"colorfulness_ratio": 3.0}


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([(10, BAD), (40, GOOD)] * 20, set()),  # single batches
        ([(50, SATURATED), (50, {})] * 5, set()),
        ([(200, {"diversity": 0.0, "colorfulness_ratio": 0.2})], set()),  # pale images
        ([(200, {"diversity": math.nan})], set()),  # equal truths
        # A healthy discriminator with spectral norm and hinge loss comes as close to chance.
        ([(200, {"d_loss": 1.04 * CHANCE})], set()),
        ([(50, {"d_loss": 1.06 * CHANCE})], {"collapsed"}),
        ([(50, {"d_loss": math.inf})], {"collapsed"}),
        ([(400, SATURATED | {"every": 100})], {"saturated"}),  # rarely measured
    ],
)
def test_what_is_reported(trainer, task, phases, expected):
    health = GANHealth()
    for batches, figures in phases:
        run_batches(health, trainer, task, batches, **figures)
    assert set(health.warnings) == expected


@pytest.mark.parametrize(("other", "warnings"), [(0.5, set()), (1.0, {"collapsed"})])
def test_the_means_are_those_of_all_processes(trainer, task, other, warnings):
    trainer.strategy.all_gather = lambda own: torch.stack([own, own * other])
    health = GANHealth()
    run_batches(health, trainer, task, 50, d_loss=CHANCE * 1.2)
    assert set(health.warnings) == warnings


ADAM = "class_path: torch.optim.Adam, init_args: {lr: 0.0002, betas: [0.5, 0.999]}"
GAN = {
    **{"--model": "CGANTask", "--model.adversarial_loss": "BCEAdversarial"},
    **{"--model.encoder": "UNetEncoder", "--model.encoder.width": "8"},
    **{"--model.discriminator": "PatchDiscriminator", "--model.discriminator.width": "8"},
    **{f"--model.{name}_optimizer": f"{{{ADAM}}}" for name in ("generator", "discriminator")},
    **{"--data.size": "32", "--data.batch_size": "4", "--data.num_workers": "0"},
    **{"--trainer.accelerator": "cpu", "--trainer.max_epochs": "-1", "--trainer.max_steps": "110"},
    **{"--trainer.limit_val_batches": "1", "--run.experiment": "health", "--run.name": "run"},
    **{"--run.test": "false", "--run.loggers.wandb": "disabled"},
}


STOP = {"--run.health": "stop"}
FAST = STOP | {"--model.discriminator_optimizer.lr": "0.02"}
REAL_FITS = {"healthy": (STOP, None), "discriminator's rate x 100": (FAST, "has collapsed")}


@pytest.mark.slow
@pytest.mark.parametrize("case", REAL_FITS)
def test_real_fits(command, tmp_path, capsys, case):
    change, warning = REAL_FITS[case]
    words = {**GAN, "--run.root": tmp_path, **change}
    assert command("fit", *[word for pair in words.items() for word in pair]) == 0
    result = RunResult.read(tmp_path / "health" / "run")
    stopped = warning is not None and "--run.health" in change
    assert result.status == ("stopped_early" if stopped else "finished")
    assert (result.batches < 110) == stopped
    err = capsys.readouterr().err
    assert ("Health, batch" in err) == (warning is not None)
    assert warning is None or warning in err
