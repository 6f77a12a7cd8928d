"""Training a classification of colors with the command."""

import pytest
import torch

from lightning_colorize.color import AbBins
from lightning_colorize.data import ColorizationDataModule
from lightning_colorize.inference import load_model
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
