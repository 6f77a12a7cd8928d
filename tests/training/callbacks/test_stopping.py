"""Runs end early, at a request, at a signal, and where they diverge; or train on."""

import json
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch

from lightning_colorize.losses import L1
from lightning_colorize.models.checkpoint import first_not_finite
from lightning_colorize.runs.folder import BEST, LAST
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.callbacks import LastCheckpoint, checkpoints
from lightning_colorize.training.callbacks.stopping import (
    FiniteTraining,
    GracefulStop,
    RunInterrupted,
    TrainingDiverged,
)
from tests.conftest import metric_rows
from tests.training.callbacks.conftest import fake_trainer

# No epoch is better than the first.
NO_PROGRESS = [
    *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0),
    *("--model.encoder.norm", "none", "--model.decoder.norm", "none"),
]


def trained(run):
    result = RunResult.read(run)
    return result.status, result.epochs


def test_a_stopped_run_resumes_with_the_patience_of_its_settings(command):
    run = command.fit("early", *NO_PROGRESS, "--trainer.max_epochs", 9, "--run.patience", 1)
    assert trained(run) == ("stopped_early", 2)
    # If it was killed in its test, it only repeats the test.
    path = run / "result.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"status": "running", "metrics": {}}))
    assert command("resume", run) == 0
    assert trained(run) == ("stopped_early", 2)
    assert "test/psnr" in RunResult.read(run).metrics
    assert command("resume", run, "--trainer.max_epochs", 20, "--run.patience", 3) == 0
    assert trained(run) == ("stopped_early", 5)
    assert command("resume", run, "--trainer.max_epochs", 6) == 0
    assert trained(run) == ("finished", 6)


def test_a_patience_given_at_resume_counts_from_the_best(command):
    run = command.fit("late", *NO_PROGRESS, "--trainer.max_epochs", 3)
    assert command("resume", run, "--trainer.max_epochs", 9, "--run.patience", 3) == 0
    assert trained(run) == ("stopped_early", 4)


def test_a_metric_that_is_never_defined_has_patience(command, photo_folder, tmp_path):
    photos = shutil.copytree(photo_folder, tmp_path / "photos")
    for extra in sorted((photos / "val").iterdir())[1:]:
        extra.unlink()
    options = ("--run.monitor", "val/ab_corr", "--run.patience", 3, "--trainer.max_epochs", 9)
    run = command.fit("single", "--data.root", photos, *options)
    assert trained(run) == ("stopped_early", 3)


def test_run_ended_by_max_time_is_validated(command, capsys):
    run = command.fit(
        "timed",
        *("--trainer.max_time", "00:00:00:01", "--trainer.max_epochs", "-1"),
        *("--trainer.check_val_every_n_epoch", "100000", "--run.test", "false"),
    )
    result = RunResult.read(run)
    assert result.status == "finished"
    assert "val/psnr" in result.metrics
    assert (run / result.best_checkpoint).is_file()
    assert "max_time ended the run" in capsys.readouterr().out
    more = ("--trainer.max_epochs", result.epochs + 2)
    assert command("resume", run, *more) == 0
    assert "max_time ended the run" in capsys.readouterr().out
    assert command("resume", run, *more, "--trainer.max_time", "null") == 0
    assert "max_time ended" not in capsys.readouterr().out
    # `trainer.max_epochs` counts an epoch that was cut short, `epochs` does not.
    assert RunResult.read(run).epochs in (result.epochs + 1, result.epochs + 2)


@pytest.mark.parametrize(
    ("every_n_epochs", "interval", "steps", "expected"),
    [
        # Three batches an epoch; two epochs, or five steps.
        ("null", 4, 6, [3, 5]),
        ("null", "00:01:00:00", 6, [5]),
        (2, 1.0, 9, [5, 8]),
        (1, 1.0, 5, [2, 4]),
    ],
)
def test_last_step_is_validated_at_any_interval(command, every_n_epochs, interval, steps, expected):
    run = command.fit(
        *("interval", "--trainer.max_epochs", "-1", "--trainer.max_steps", steps),
        *("--trainer.check_val_every_n_epoch", every_n_epochs),
        *("--trainer.val_check_interval", interval, "--run.test", "false"),
    )
    assert [int(row["step"]) for row in metric_rows(run) if row["val/psnr"]] == expected
    assert RunResult.read(run).epochs == steps // 3  # whole ones


class Strategy:
    """The strategy of two processes, of which the other receives a signal, or has to save."""

    root_device = torch.device("cpu")
    signaled = is_due = False

    def reduce(self, state, reduce_op):
        assert reduce_op == "max"
        other = [int(signal.SIGTERM) if self.signaled else 0, self.is_due]
        return torch.maximum(state, torch.tensor(other))


def two_processes(validates_every, accumulate):
    return fake_trainer(
        world_size=2,
        strategy=Strategy(),
        accumulate_grad_batches=accumulate,
        val_check_batch=validates_every,
    )


@pytest.mark.parametrize(
    ("validates_every", "accumulate", "limit"),
    [(None, 1, 16), (8, 1, 17), (16, 1, 17), (48, 3, 18), (None, 7, 21), (4, 2, 18)],
)
def test_signal_to_one_rank_reaches_all_soon(validates_every, accumulate, limit):
    saved = []
    stop = GracefulStop(SimpleNamespace(save=saved.append, is_due=False))
    process = two_processes(validates_every, accumulate)
    for batch in range(100):  # no signal
        stop.on_train_batch_end(process, None, None, None, batch)
        stop.on_train_batch_start(process, None, None, batch)
    assert not saved
    process.strategy.signaled = True
    for batch in range(100, 100 + limit):
        stop.on_train_batch_start(process, None, None, batch)
        stop.on_train_batch_end(process, None, None, None, batch)
        if saved:
            break
    assert len(saved) == 1
    with pytest.raises(RunInterrupted):
        stop.on_train_batch_start(process, None, None, batch + 1)
    assert stop.received == signal.SIGTERM


def test_all_ranks_save_when_it_is_time_for_one():
    saved = []
    stop = GracefulStop(SimpleNamespace(save=saved.append, is_due=False))
    process = two_processes(None, 1)
    for is_due, expected in ((True, 2), (False, 2), (True, 4)):
        process.strategy.is_due = is_due
        for batch in range(32):
            stop.on_train_batch_start(process, None, None, batch)
            stop.on_train_batch_end(process, None, None, None, batch)
        assert len(saved) == expected


def test_a_checkpoint_is_saved_every_few_minutes_and_not_before(monkeypatch):
    now, saved = 1000.0, []
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now))
    trainer = fake_trainer(save_checkpoint=lambda _: saved.append(now), val_check_batch=4)
    last = LastCheckpoint(LAST, every_n_minutes=5)
    now = 2000.0
    last.on_train_start(trainer, None)
    for batch in range(14):
        now += 100
        GracefulStop(last).on_train_batch_end(trainer, None, None, None, batch)
    # The twelfth batch is validated, so it waits for the next.
    assert saved == [2300, 2600, 2900, 3300]


# Of the second epoch.
EXPLODES = [
    *("--model.scheduler", "torch.optim.lr_scheduler.ExponentialLR"),
    *("--model.scheduler.gamma", "1e30"),
]


class NanInValidation(L1):
    """L1 in training, nan in validations."""

    def forward(self, prediction, batch):
        return super().forward(prediction, batch) * (1 if torch.is_grad_enabled() else torch.nan)


def test_a_learning_rate_far_too_high_fails_without_a_checkpoint(command, capsys):
    assert command("fit", *command.words("high", "--model.optimizer.lr", "1e30")) == 1
    run = command.root / "tiny" / "high"
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert "the training diverged: the loss is nan at step " in err
    result = RunResult.read(run)
    assert (result.status, result.best_checkpoint) == ("failed", None)
    assert not list(run.glob("checkpoints/*"))
    assert not list(run.glob("images/*"))


def test_the_last_finite_checkpoint_stays_the_best(command, capsys, tmp_path):
    assert command("fit", *command.words("late", *EXPLODES)) == 1
    run = command.root / "tiny" / "late"
    assert "the loss is nan at step 5 (last finite loss: 0." in capsys.readouterr().err
    assert RunResult.read(run).status == "failed"
    for name in (BEST, LAST):
        checkpoint = torch.load(run / name, weights_only=True)
        assert checkpoint["global_step"] == 3
        assert first_not_finite(checkpoint["state_dict"]) is None
    assert command("colorize", command.photos / "test", tmp_path / "out", "--checkpoint", run) == 0


def test_a_validation_loss_that_is_not_finite_fails(command, capsys):
    loss = ["--model.loss", "tests.training.callbacks.test_stopping.NanInValidation"]
    assert command("fit", *command.words("run", *loss, "--run.patience", 2)) == 1
    assert "diverged: val/loss is not finite after step 3" in capsys.readouterr().err
    assert not (command.root / "tiny/run" / BEST).exists()


@pytest.fixture
def callback():
    return FiniteTraining()


@pytest.fixture
def trainer():
    return fake_trainer()


def train(callback, trainer, *losses):
    for loss in losses:
        trainer.global_step += 1
        outputs = {} if loss is None else {"loss": torch.tensor(float(loss))}
        callback.on_train_batch_end(trainer, None, outputs, None, 0)


@pytest.mark.parametrize("finite", [0, 47, 48, 49])
def test_training_that_recovers_goes_on(finite, callback, trainer):
    """Wherever the losses are that are not finite: 16-mixed precision skips such steps."""
    train(callback, trainer, *[1] * finite, "inf", "nan")
    callback.on_validation_epoch_end(trainer, None)
    callback.on_save_checkpoint(trainer, None, {"state_dict": {}})
    train(callback, trainer, None, *[2] * 100)
    callback.on_validation_epoch_end(trainer, None)


def test_the_loss_is_checked_between_validations(callback, trainer):
    with pytest.raises(TrainingDiverged, match=r"inf at step 4 .last finite loss: 0.5 at step 3"):
        train(callback, trainer, 1, "nan", 0.5, *["inf"] * 100)
    assert trainer.global_step <= 100


def test_predictions_and_weights_are_checked(callback, trainer):
    for value in (0.0, torch.nan, 0.0):
        callback.on_validation_batch_end(trainer, None, torch.full((2, 2), value), None, 0)
    with pytest.raises(TrainingDiverged, match="predictions are not finite after step 0"):
        callback.on_validation_epoch_end(trainer, None)
    callback.on_validation_epoch_end(trainer, None)
    state = {"count": torch.tensor(1), "net.weight": torch.tensor([0.0, torch.inf])}
    with pytest.raises(TrainingDiverged, match=r"net\.weight is not finite"):
        callback.on_save_checkpoint(trainer, None, {"state_dict": state})
    moments = {"step": torch.tensor(3.0), "exp_avg_sq": torch.tensor([torch.inf, 1.0])}
    checkpoint = {"state_dict": {}, "optimizer_states": [{"state": {7: moments}}]}
    with pytest.raises(TrainingDiverged, match="optimizer 0, parameter 7, exp_avg_sq is not"):
        callback.on_save_checkpoint(trainer, None, checkpoint)
