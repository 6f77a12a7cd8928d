"""Classifications of colors: trained with the command, and by a teacher."""

import shutil

import pytest
import torch

from lightning_colorize.color import AbBins, ColorBatch, to_lab
from lightning_colorize.common.bundled import bundled
from lightning_colorize.data import ColorizationDataModule
from lightning_colorize.inference import load_model
from lightning_colorize.losses import CrossEntropy, WeightedSum
from lightning_colorize.networks import ClassificationHead
from lightning_colorize.tasks import Distillation
from tests.conftest import metric_rows
from tests.tasks.conftest import CLASSES

HEAD = ("--model.head", "lightning_colorize.networks.ClassificationHead")


def test_rare_colors_weigh_more(classes, photo_folder):
    """The weights come from the training images, in the network and in its average."""
    options = {"size": 32, "batch_size": 4, "num_workers": 0, "cache": "always"}
    data = ColorizationDataModule(str(photo_folder), **options)
    data.setup("fit")
    counted = AbBins()
    for batch in data.color_batches("train"):
        counted.update(batch.ab)
    counted.finish()
    state = torch.load(classes / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for prefix in ("net.", "averaged.module."):
        bins = {n: state[f"{prefix}head.bins.{n}"] for n in ("pixels", "prior", "weights")}
        assert bins["pixels"] == 12 * 32**2
        torch.testing.assert_close(bins["prior"], counted.prior)
        torch.testing.assert_close(bins["weights"], counted.weights)
        common, rare = bins["prior"].argmax(), bins["prior"] == 0
        assert bins["weights"][common] < 1 < bins["weights"][rare].max()


def test_a_given_head_keeps_its_decoding(classes, command):
    start = (*CLASSES, "--model.checkpoint", classes)
    changed = ("--model.head.vividness", 1, "--model.head.temperature", 0.9)
    given = load_model(command.fit("given", *start, *HEAD, *changed))
    assert (given.decoding["vividness"], given.decoding["temperature"]) == (1, 0.9)
    assert load_model(command.fit("own", *start)).decoding == load_model(classes).decoding


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.head", "AbHead"], "CrossEntropy needs a ClassificationHead, not AbHead"),
        (["--trainer.precision", "bf16-true"], "accepted: bf16-mixed"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_run(command, words, message, capsys):
    assert command("fit", *command.words("refused", *CLASSES, *words)) == 2
    assert message in capsys.readouterr().err
    assert not (command.root / "tiny/refused").exists()


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
