import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch import nn
from torch.nn import functional as F

from lightning_colorize.color import LabScaling, fit_gamut, to_lab, to_rgb
from lightning_colorize.tasks import prediction
from lightning_colorize.tasks.prediction import colorize_image, seen_side, upsampled_strips


class Painter(nn.Module):
    """A fake task: colors depend on lightness and position; records its input."""

    device = torch.device("cpu")

    def forward(self, L):
        self.seen = L
        self.scaling = LabScaling()
        height, width = L.shape[-2:]
        across = torch.linspace(-60, 60, width).expand(1, 1, height, width)
        down = torch.linspace(-50, 50, height)[:, None].expand(1, 1, height, width)
        return torch.cat([across + L / 10, down - L / 10], dim=1)


def _image(height, width, seed=0):
    small = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(seed)) * 255
    rgb = F.interpolate(small, (height, width), mode="bicubic").clamp(0, 255)
    return rgb[0].to(torch.uint8)


@pytest.mark.parametrize(("height", "width"), [(71, 53), (17, 400), (3, 2), (32, 32), (130, 1)])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_strips_of_ab_equal_torchs_interpolation_of_the_whole(height, width, rows):
    ab = torch.randn(1, 2, 24, 19, generator=torch.Generator().manual_seed(1)) * 50
    whole = F.interpolate(ab, (height, width), mode="bilinear", align_corners=False)
    strips = list(upsampled_strips(ab, height, width, rows))
    assert all(strip.shape[2] <= rows for _, strip in strips)
    assert [row for part, _ in strips for row in range(height)[part]] == list(range(height))
    torch.testing.assert_close(torch.cat([s for _, s in strips], dim=2), whole, rtol=0, atol=1e-3)


def test_strips_equal_the_whole_to_one_step_of_eight_bits(monkeypatch):
    rgb = _image(203, 151)
    monkeypatch.setattr(prediction, "_STRIP_PIXELS", 151 * 13)
    painter = Painter()
    strips = colorize_image(painter, rgb, 48)

    L, _ = to_lab(rgb[None])
    ab = F.interpolate(painter(painter.seen), (203, 151), mode="bilinear", align_corners=False)
    whole = (to_rgb(L, fit_gamut(L, ab))[0] * 255).round()
    assert (strips - whole).abs().max() <= 1


@pytest.mark.parametrize(("height", "width"), [(97, 145), (33, 20), (64, 64), (5, 9), (1, 1)])
def test_lightness_is_preserved_and_color_added(height, width):
    rgb = _image(height, width)
    colored = colorize_image(Painter(), rgb, 32)
    assert colored.shape == rgb.shape
    assert colored.dtype == torch.uint8
    before, after = (rgb2lab(x.permute(1, 2, 0).numpy()) for x in (rgb, colored))
    # Rounding to eight bits alone moves L* by up to 0.6 where colors are dark and strong.
    assert np.abs(before[..., 0] - after[..., 0]).max() < 1
    if min(height, width) > 1:
        assert np.hypot(after[..., 1], after[..., 2]).mean() > 10


def test_input_of_the_network_equals_that_of_training():
    """A square at the training size is not resized, and has the same L."""
    rgb = _image(32, 32)
    painter = Painter()
    colorize_image(painter, rgb, 32)
    expected = rgb2lab(rgb.permute(1, 2, 0).numpy())[..., 0]
    np.testing.assert_allclose(painter.seen[0, 0].numpy(), expected, atol=1e-2)


def test_prediction_does_not_depend_on_the_input_colors():
    rgb = _image(40, 40)
    L, _ = to_lab(rgb[None])
    grey = (to_rgb(L, torch.zeros(1, 2, 40, 40))[0] * 255).round().to(torch.uint8)
    difference = colorize_image(Painter(), rgb, 40).int() - colorize_image(Painter(), grey, 40)
    # Only by the rounding of the grey image's lightness; the colors differ by up to 200.
    assert difference.abs().float().mean() < 0.5
    assert difference.abs().max() <= 6


@pytest.mark.parametrize(
    ("height", "width", "side"), [(480, 640, 128), (640, 160, 128), (100, 1000, 51), (1, 9000, 1)]
)
def test_very_long_images_are_predicted_smaller(height, width, side):
    assert seen_side(height, width, 128) == side
    painter = Painter()
    colored = colorize_image(painter, _image(height, width), 128)
    assert colored.shape == (3, height, width)
    assert min(painter.seen.shape[-2:]) == side
    assert painter.seen.numel() <= max(4.1 * 128**2, height * width)
