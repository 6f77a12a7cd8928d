"""What all terms of weighted sums have in common, with every head."""

import pytest
import torch
from torch import nn

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import ChromaWeighted, Colorfulness, Gradient, OutOfGamut, Perceptual
from lightning_colorize.networks import Encoder, FeatureInfo
from tests.losses.conftest import with_target


class Backbone(Encoder):
    """One level of random convolutions of RGB, with a batch norm."""

    weights_from = "test"

    def __init__(self, in_channels):
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Sequential(nn.Conv2d(in_channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.info = FeatureInfo((8,), (2,))

    def forward(self, L):
        return [self.first(L)]


TERMS = {
    "perceptual": Perceptual(Backbone),
    "colorfulness": Colorfulness(),
    "out_of_gamut": OutOfGamut(),
    "gradient": Gradient(),
    "chroma_l1": ChromaWeighted(),
    "chroma_squared": ChromaWeighted(squared=True),
}
# Those that a better prediction lowers, wherever it starts inside sRGB.
COMPARING = sorted(TERMS.keys() - {"out_of_gamut"})


@pytest.mark.parametrize("name", COMPARING)
def test_falls_from_grey_to_the_truth_with_any_head(name, setting):
    ab = setting.batch.ab
    shares = (0.0, 0.5, 1.0)
    losses = [TERMS[name](setting.predict(share * ab), setting.batch).item() for share in shares]
    assert losses[0] > losses[1] > losses[2] >= 0
    if setting.head.reduction == 1:  # else edges are blurred
        assert losses[2] == pytest.approx(0, abs=1e-5)


def test_out_of_gamut_falls_towards_grey_with_any_head(setting):
    ab = setting.batch.ab / setting.batch.ab.norm(dim=1, keepdim=True)
    losses = [
        TERMS["out_of_gamut"](setting.predict(chroma * ab), setting.batch).item()
        for chroma in (100.0, 80.0, 60.0, 0.0)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 0.02
    assert losses[-1] == pytest.approx(0, abs=2e-3)  # the bins next to grey are not grey


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("colors", ["grey", "impossible"])
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_gradients_are_finite(name, colors, autocast, setting):
    L = setting.batch.L.clone()
    L[:, :, 0] = 0
    L[:, :, 1] = 100
    batch = with_target(setting.head, ColorBatch(L, setting.batch.ab, []))
    ab = torch.zeros_like(batch.ab)
    if colors == "impossible":
        ab[:, 0], ab[:, 1] = 110, -110
        ab[..., 16:] = 110
    prediction = setting.predict(ab).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = TERMS[name](prediction, batch)
    assert (loss.dtype, loss.shape) == (torch.float32, ())
    assert loss.isfinite()
    loss.backward()
    assert prediction.grad.isfinite().all()
    # A grey image is inside sRGB and, entirely grey, where colorfulness has its kink.
    if name not in ("out_of_gamut", "colorfulness"):
        assert prediction.grad.abs().max() > 0
