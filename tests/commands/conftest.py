"""A checkpoint that predicts no colors."""

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
