"""A student that learns from a teacher's distribution."""

import shutil

import pytest
import torch

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.common.bundled import bundled
from lightning_colorize.inference import load_model
from lightning_colorize.losses import CrossEntropy, WeightedSum
from lightning_colorize.networks import ClassificationHead
from lightning_colorize.tasks import Distillation
from tests.conftest import metric_rows

LOSS = ("--model.loss", bundled("experiments") / "loss" / "distilled.yaml")
TEACHER = "--model.loss.losses.teacher.teacher"


@pytest.fixture
def batch():
    rgb = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return ColorBatch(*to_lab(rgb), ["a", "b"])


def test_the_minimum_has_the_teachers_distribution_whatever_the_students_weights(batch):
    loss = Distillation("default")
    head = ClassificationHead(8)
    head.bins.update(batch.ab * 0.1)
    head.bins.finish()
    assert not torch.allclose(head.bins.weights, loss.teacher.bins.weights, atol=0.3)
    WeightedSum({"truth": CrossEntropy(), "teacher": loss}).require_head(head)
    shares = loss.teacher.bins.shares(loss.teacher.network(batch.L / 50 - 1)).clamp(min=1e-12)
    best = shares.log() + head.bins.weights.log().view(1, -1, 1, 1)
    torch.testing.assert_close(head.bins.shares(best), shares / shares.sum(1, keepdim=True))
    gradients = []
    for prediction in (best, torch.zeros_like(best), best + torch.randn_like(best)):
        leaf = prediction.detach().requires_grad_()
        loss(leaf, batch).backward()
        gradients.append(leaf.grad.abs().max().item())
    assert gradients[0] < 1e-3 * min(gradients[1:])


def test_a_student_needs_its_teacher_only_to_train(
    command, classes, finished_run, tmp_path, error_of
):
    teacher = shutil.copytree(classes, tmp_path / "teacher")
    more = ("--trainer.num_sanity_val_steps", 1, "--model.checkpoint", teacher)
    student = command.fit("student", *LOSS, TEACHER, teacher, *more)
    rows = metric_rows(student)
    assert {"train/truth", "train/teacher"} <= {name for row in rows for name in row}
    state = torch.load(student / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert not [name for name in state if name.startswith("loss")]
    shutil.rmtree(teacher)
    assert load_model(student).model.bins is not None
    for wrong, reason in ((teacher, "does not exist"), (finished_run, "no ClassificationHead")):
        words = command.words("again", *LOSS, TEACHER, wrong, "--model.checkpoint", student)
        assert reason in error_of("fit", *words)
