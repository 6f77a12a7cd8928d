import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lightning_colorize.color import RawBatch
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions, old_copy
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.damage import aged, blurred, damaged, grainy, jpeg_compressed


def lightness(count=2, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 8, 8, generator=generator) * 100
    return F.interpolate(coarse, size=(size, size), mode="bilinear").clamp(0, 100)


def number(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_jpeg_equals_pillow(quality):
    grey = (lightness(1, 64) * 2.55).round()
    grey[..., :8, :8], grey[..., -8:, -8:] = 0, 255
    file = io.BytesIO()
    Image.fromarray(grey[0, 0].byte().numpy()).save(file, "JPEG", quality=quality)
    expected = torch.from_numpy(np.array(Image.open(file))).float()
    actual = jpeg_compressed(grey / 2.55, number(float(quality)))[0, 0] * 2.55
    # Pillow rounds the grey values, and the steps to integers.
    assert (actual - expected).abs().mean() < 0.5
    assert (actual - expected).abs().mean() < (grey[0, 0] - expected).abs().mean() / 1.4


def test_jpeg_of_each_image_has_its_quality_and_any_size():
    L = lightness(2, 32)[:, :, :29, :30]
    both = jpeg_compressed(L, number(20.0, 90.0))
    assert both.shape == L.shape
    for index, quality in enumerate((20.0, 90.0)):
        one = jpeg_compressed(L[index : index + 1], number(quality))
        torch.testing.assert_close(both[index : index + 1], one)
    low, high = (both - L).square().mean(dim=(1, 2, 3))
    assert low > 3 * high


def test_blur_spreads_a_point_by_its_sigma():
    L = torch.zeros(2, 1, 129, 129)
    L[:, :, 64, 64] = 100
    out = blurred(L, number(0.5, 1.2))
    x = torch.arange(129.0) - 64
    for image, sigma in zip(out[:, 0], (0.5, 1.2), strict=True):
        assert float(image.sum()) == pytest.approx(100, rel=1e-4)
        variance = (image.sum(0) * x.square()).sum() / 100
        assert float(variance.sqrt()) == pytest.approx(sigma, rel=0.1)  # of a few pixels
    torch.testing.assert_close(out, out.transpose(2, 3))


def test_grain_has_its_deviation_and_stays_in_range():
    torch.manual_seed(0)
    L = torch.full((3, 1, 64, 64), 50.0)
    L[2] = 0
    grain = grainy(L, number(2.0, 8.0, 8.0)) - L
    assert grain[:2].std(dim=(1, 2, 3)).tolist() == pytest.approx([2, 8], rel=0.05)
    assert grain[:2].mean(dim=(1, 2, 3)).abs().max() < 0.4
    assert grain[2].min() == 0


def test_aged_print_is_faded_and_scratched():
    torch.manual_seed(0)
    grey = torch.full((50, 1, 64, 64), 50.0)
    torch.testing.assert_close(aged(grey, number(*[0.0] * 50)), grey)
    out = aged(grey, number(*[1.0] * 50))
    paper = out.flatten(1).median(1).values
    assert 40 <= paper.min() < 45
    assert 55 < paper.max() <= 65
    scratched = (out - paper.view(-1, 1, 1, 1)).abs() > 1
    assert 0.02 < scratched.float().mean() < 0.2
    columns = scratched.any(2).flatten(1).sum(1)
    assert 8 < columns.float().mean() < 40  # eight lines, a few columns each
    assert len(columns.unique()) > 5
    bright = (out > paper.view(-1, 1, 1, 1))[scratched]
    assert bright.float().mean() == pytest.approx(0.5, abs=0.15)


def test_bright_light_spreads_on_an_aged_print():
    L = torch.full((20, 1, 64, 64), 20.0)
    L[..., 32:] = 100
    torch.manual_seed(0)
    near, far = aged(L, number(*[1.0] * 20))[..., [31, 8]].mean((0, 1, 2))
    assert near - far > 5


ALL = {"blur": 1.0, "grain": 1.0, "aging": 1.0, "jpeg": 1.0}


@pytest.mark.parametrize("name", ALL)
def test_each_option_is_a_probability(name):
    L = lightness(1, 64).expand(200, -1, -1, -1)
    torch.manual_seed(0)
    changed = (damaged(L, **{name: 0.25}) != L).flatten(1).any(1).float().mean()
    assert 0.15 < float(changed) < 0.35
    torch.manual_seed(0)
    assert (damaged(L, **{name: 1.0}) != L).flatten(1).any(1).all()


def batch(**options):
    rgb = (torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 255).byte()
    torch.manual_seed(0)
    augmentation = Augmentation(24, AugmentationOptions(**options))
    return to_color_batch(RawBatch(rgb, ["x"] * 4), augmentation)


def test_only_L_is_damaged_and_a_seed_repeats_it():
    clean, first, second = batch(), batch(**ALL), batch(**ALL)
    assert torch.equal(first.L, second.L)
    assert torch.equal(first.ab, clean.ab)
    assert ((first.L - clean.L).abs().mean(dim=(1, 2, 3)) > 0.5).all()
    assert first.L.dtype == torch.float32
    assert first.L.min() >= 0
    assert first.L.max() <= 100


def test_off_draws_nothing():
    L = lightness()
    torch.manual_seed(0)
    assert damaged(L) is L
    following = torch.rand(1)
    torch.manual_seed(0)
    assert torch.rand(1) == following


def test_damage_is_in_fp32_under_autocast():
    L = lightness()
    for change, value in ((blurred, 0.3), (jpeg_compressed, 30.0)):
        expected = change(L, number(value, value))
        with torch.autocast("cpu", torch.bfloat16):
            actual = change(L, number(value, value))
        assert actual.dtype == torch.float32
        assert torch.equal(actual, expected)


def test_old_copy_is_grey_and_depends_on_the_image_alone():
    first, second = torch.randint(256, (2, 3, 40, 48), dtype=torch.uint8)
    state = torch.get_rng_state()
    copy = old_copy(first)
    torch.rand(1)
    assert torch.equal(old_copy(first), copy)
    torch.set_rng_state(state)
    assert copy.shape == first.shape
    assert (copy.float().amax(0) - copy.float().amin(0)).max() <= 1
    assert not torch.equal(old_copy(second), copy)


def test_old_copies_stay_the_same():
    """Results of protocols contain them: a change needs another name in the protocol's file."""
    x = torch.arange(48.0)
    rgb = torch.stack(
        [x.expand(32, 48) * 5, x[:32, None].expand(32, 48) * 7, 255 - x * 5 + x[:32, None]]
    )
    copy = old_copy(rgb.byte())[0].float()
    assert copy.mean().item() == pytest.approx(129.9, abs=1)
    expected = [134, 148, 132, 92, 25, 161, 122, 122, 41, 170, 145, 31, 46, 171, 157, 102]
    assert copy[::8, ::12].flatten().tolist() == pytest.approx(expected, abs=3)
