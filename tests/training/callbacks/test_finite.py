"""A run that diverges fails, and leaves no weights that are not finite."""

import pytest
import torch

from lightning_colorize.losses import L1
from lightning_colorize.models.checkpoint import first_not_finite
from lightning_colorize.runs.folder import BEST, LAST
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.callbacks.stopping import FiniteTraining, TrainingDiverged
from tests.training.callbacks.conftest import fake_trainer

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
    loss = ["--model.loss", "tests.training.callbacks.test_finite.NanInValidation"]
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
