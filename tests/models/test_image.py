from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch.nn import functional as F

from lightning_colorize.color import to_eight_bits, to_lab, to_rgb
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.inference import load_model
from lightning_colorize.models.base import Model
from lightning_colorize.models.image import (
    add_colors,
    colorize_image,
    is_colored,
    network_input,
    predict,
    seen_side,
    upsampled_strips,
)


class Painter(Model):
    """Colors depend on lightness and position; records its input."""

    def predict(self, L, condition=None):
        self.seen = L
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
    assert painter.seen[0].numel() <= max(4.1 * 128**2, height * width)


def test_images_of_a_batch_are_predicted_as_alone():
    class Blur(Painter):
        multiple = 16

        def predict(self, L, condition=None):
            assert all(side % 16 == 0 for side in L.shape[-2:])
            blurred = F.avg_pool2d(F.pad(L, [8] * 4, mode="reflect"), 17, stride=1)
            return torch.cat([L - blurred, blurred.mean((2, 3), keepdim=True) + 0 * L], dim=1)

    seen = [_image(*size, seed=index) for index, size in enumerate([(33, 48), (40, 35), (48, 48)])]
    together = predict(Blur(), seen).colors()
    for image, ab in zip(seen, together, strict=True):
        (alone,) = predict(Blur(), [image]).colors()
        assert ab.shape[-2:] == image.shape[-2:]
        torch.testing.assert_close(ab, alone, rtol=0, atol=1e-4)


def test_guided_colors_follow_the_edges():
    """A red disk on blue, predicted at an eighth of the size: fewer pixels between the colors."""
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    disk = ((y - 120) ** 2 + (x - 131) ** 2).sqrt() < 70
    grey = torch.where(disk, 170, 70).to(torch.uint8).expand(3, 256, 256)
    seen = network_input(grey, 32)
    share = F.interpolate(disk[None, None].float(), (32, 32), mode="area")
    # A network's colors are blurred themselves.
    share = F.avg_pool2d(F.pad(share, [1] * 4, mode="replicate"), 3, stride=1)
    inside, outside = (torch.tensor(ab).view(2, 1, 1) for ab in ((20.0, 8.0), (-8.0, -15.0)))
    ab = share * inside + (1 - share) * outside
    wrong = {}
    for name, guide in (("bilinear", None), ("guided", seen)):
        _, painted = to_lab(add_colors(grey, ab, guide)[None])
        wrong[name] = (painted - torch.where(disk, inside, outside)).norm(dim=1)
        assert wrong[name][0, 110:130, 120:140].max() < 3
    assert wrong["guided"].mean() < 0.6 * wrong["bilinear"].mean()


def test_color_is_told_from_grey_and_from_a_tone():
    grey = _image(64, 64)[:1].expand(3, 64, 64).float()
    sepia = torch.stack([grey[0] * 0.9 + 25, grey[0] * 0.8 + 15, grey[0] * 0.65])
    duotone = torch.stack([grey[0], grey[0] * 0.9 + 10, 80 + grey[0] * 0.5])
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    for toned in (grey, sepia, duotone, torch.full((3, 64, 64), 90.0), sepia + noise):
        assert not is_colored(toned.clamp(0, 255).to(torch.uint8))
    assert is_colored(_image(64, 64))
    half = grey.clone()
    half[0, :, 48:] += 40
    assert is_colored(half.clamp(0, 255).to(torch.uint8))


def test_sixteen_bits_are_colored_at_sixteen_bits():
    grey = torch.linspace(0, 65535, 64 * 64).round().view(1, 64, 64).expand(3, 64, 64)
    colored = colorize_image(Painter(), grey.to(torch.uint16), 32)
    assert colored.dtype == torch.uint16
    (before, _), (after, ab) = (to_lab(x[None]) for x in (grey.to(torch.uint16), colored))
    assert (before - after).abs().max() < 0.02
    assert ab.norm(dim=1).mean() > 10


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_a_prepared_image_is_decoded_again_without_the_network(monkeypatch, dtype):
    model = load_model("default")
    assert str(model.model) == "default"
    own = model.decoding
    rgb = _image(150, 190).to(dtype) * (257 if dtype == torch.uint16 else 1)
    prepared = model.prepare(rgb)
    assert torch.equal(prepared.colorize(), model.colorize(rgb))
    model.set_decoding(vividness=1.0, strength=1.2)
    vivid = model.colorize(rgb)
    model.set_decoding(**own)
    monkeypatch.setattr(model.model, "views", None)
    assert torch.equal(prepared.colorize(vividness=1.0, strength=1.2), vivid)
    assert model.decoding == own
    small = replace(prepared, rgb=resize_short_side(to_eight_bits(rgb), 75))
    assert tuple(small.colorize().shape) == (3, 75, 95)
