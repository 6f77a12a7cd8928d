"""A checkpoint that predicts no colors, and a model that samples and obeys."""

import pytest
import torch


@pytest.fixture
def diverged(finished_run, tmp_path):
    """A checkpoint whose predictions are not finite."""
    checkpoint = torch.load(finished_run / "checkpoints/best.ckpt", weights_only=True)
    for name, value in checkpoint["state_dict"].items():
        if name.endswith("running_var"):
            value.fill_(-1.0)
    torch.save(checkpoint, tmp_path / "diverged.ckpt")
    return tmp_path / "diverged.ckpt"


@pytest.fixture
def obeys(tmp_path):
    """Return a function of its arguments: the words for a model that does what it is asked for."""

    def words(arguments, name=""):
        file = tmp_path / "obeys.yaml"
        file.write_text(f"class_path: tests.evaluation.stubs.Obeys\ninit_args: {{{arguments}}}\n")
        return f"{name}{file}", "--allow-class", "tests.evaluation.stubs", "--size", 32

    return words
