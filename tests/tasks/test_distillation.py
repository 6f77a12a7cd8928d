"""A student that learns from a teacher's distribution."""

import shutil

import pytest
import torch

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.common.bundled import bundled
from lightning_colorize.inference import load_model
from lightning_colorize.tasks import Distillation
from tests.conftest import metric_rows

LOSS = ("--model.loss", bundled("experiments") / "loss" / "distilled.yaml")
TEACHER = "--model.loss.losses.teacher.teacher"


@pytest.fixture(scope="module")
def loss():
    return Distillation("default")


@pytest.fixture
def batch():
    rgb = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return ColorBatch(*to_lab(rgb), ["a", "b"])


def test_the_teachers_own_prediction_is_the_minimum(loss, batch):
    own = loss.teacher.network(batch.L / 50 - 1)
    gradients = []
    for prediction in (own.detach(), torch.zeros_like(own), own.detach() + torch.randn_like(own)):
        loss(prediction.requires_grad_(), batch).backward()
        gradients.append(prediction.grad.abs().max().item())
    assert gradients[0] < 1e-3 * min(gradients[1:])


def test_equals_cross_entropy_with_drawn_colors(loss, batch):
    """In one pixel, over all bins."""
    prediction = torch.randn(2, 313, 16, 16)
    bins = loss.teacher.bins
    shares = bins.shares(loss.teacher.network(batch.L / 50 - 1))
    logs = prediction.log_softmax(1)
    each = [-(shares[:, q] * bins.weights[q] * logs[:, q]) for q in range(313)]
    torch.testing.assert_close(loss(prediction, batch), torch.stack(each).sum(0).mean())


def test_a_student_needs_its_teacher_only_to_train(command, tmp_path, capsys):
    teacher = command.fit("teacher", "--model.loss", "lightning_colorize.losses.CrossEntropy")
    student = command.fit("student", *LOSS, TEACHER, teacher)
    rows = metric_rows(student)
    assert {"train/truth", "train/teacher"} <= {name for row in rows for name in row}
    state = torch.load(student / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert not [name for name in state if name.startswith("loss")]
    shutil.rmtree(teacher)
    assert load_model(student).model.bins is not None
    capsys.readouterr()
    for wrong, reason in ((teacher, "does not exist"), ("regression", "no ClassificationHead")):
        if wrong == "regression":
            wrong = command.fit("regression")
            capsys.readouterr()
        assert command("fit", *command.words("again", *LOSS, TEACHER, wrong)) == 2
        assert reason in capsys.readouterr().err
