import pytest
import torch
from kornia import augmentation as K
from torch.nn import functional as F

from lightning_colorize.color import RawBatch, to_lab, to_rgb
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.augmentation import (
    Augmentation,
    AugmentationOptions,
    nest_augmentation,
)
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.dataset import resize_short_side


def smooth(count=4, size=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 255
    return F.interpolate(coarse, size=(size, size), mode="bilinear").to(torch.uint8)


def raw(rgb):
    return RawBatch(rgb, [str(number) for number in range(len(rgb))])


def none(size=24, **options):
    """An augmentation with these options only."""
    return Augmentation(size, AugmentationOptions(**{"flip": 0.0, "crop_scale": None, **options}))


def moved(augmentation, rgb):
    """The images after the geometry, before the conversion."""
    return augmentation.geometry(rgb, augmentation.draw(rgb.shape).affine)


def test_no_augmentation_is_a_resize():
    rgb = smooth()
    batch = to_color_batch(raw(rgb), none())
    # In floating point, as augmented images are: uint8 takes a table, which rounds differently.
    L, ab = to_lab(rgb / 255)
    torch.testing.assert_close(batch.L, L)
    torch.testing.assert_close(batch.ab, ab)
    assert moved(none(16), rgb).shape == (4, 3, 16, 16)


def jittered(rgb, share=1.0):
    torch.manual_seed(0)
    return to_color_batch(raw(rgb), none(rgb.shape[-1], grey_jitter=share))


def test_grey_jitter_changes_L_with_its_probability_and_leaves_the_colors():
    rgb = smooth(200)
    L, ab = to_lab(rgb / 255)
    for share in (1.0, 0.25):
        batch = jittered(rgb, share)
        torch.testing.assert_close(batch.ab, ab)
        changed = (batch.L - L).abs().mean(dim=(1, 2, 3))
        assert (changed > 0.01).float().mean() == pytest.approx(share, abs=0.1 * (share < 1))
        assert changed.mean() > 3 * share
        assert 0 <= batch.L.min() < batch.L.max() <= 100


def test_grey_jitter_preserves_black_and_white_and_may_swap_red_and_blue():
    extremes = torch.tensor([0, 255], dtype=torch.uint8).expand(3, 8, 4, 2).movedim(1, 0)
    for L, expected in zip(jittered(extremes).L.unbind(-1), (0.0, 100.0), strict=True):
        torch.testing.assert_close(L, torch.full_like(L, expected), atol=1e-2, rtol=0)
    # As on orthochromatic film and through a red filter.
    rgb = torch.zeros(100, 3, 2, 2, dtype=torch.uint8)
    rgb[:, 0, :, 0], rgb[:, 2, :, 1] = 255, 255
    L = jittered(rgb).L
    assert 0.3 < float((L[..., 0] > L[..., 1]).float().mean()) < 0.7


def recolored(rgb, share=1.0):
    torch.manual_seed(0)
    return to_color_batch(raw(rgb), none(rgb.shape[-1], color_jitter=share))


def test_color_jitter_turns_and_scales_the_color_of_an_image_by_a_little_and_leaves_L():
    rgb = 110 + smooth(300) // 8  # muted: far inside sRGB
    L, ab = to_lab(rgb / 255)
    batch = recolored(rgb)
    torch.testing.assert_close(batch.L, L)
    before, after = (torch.complex(*each.unbind(1)) for each in (ab, batch.ab))
    change = (after / before)[ab.norm(dim=1) > 2].reshape(-1)
    assert 1 / 1.25 - 1e-3 <= change.abs().min() < 0.85
    assert 1.2 < change.abs().max() <= 1.25 + 1e-3
    assert 9 < change.angle().rad2deg().abs().max() <= 10.01
    of_image = [(after / before)[i][ab[i].norm(dim=0) > 2] for i in range(20)]
    assert max((each - each.mean()).abs().max() for each in of_image) < 1e-3  # one of each image
    some = (recolored(rgb, 0.25).ab - ab).abs().amax(dim=(1, 2, 3)) > 0.01
    assert some.float().mean() == pytest.approx(0.25, abs=0.08)


def test_color_jitter_stays_in_sRGB():
    batch = recolored(smooth(200))  # saturated
    rgb = to_rgb(batch.L, batch.ab, clip=False)
    assert -1e-3 < rgb.min() < rgb.max() < 1 + 1e-3


def test_mixup_mixes_L_and_color_of_two_images_alike_with_its_probability():
    rgb = smooth(200)
    L, ab = to_lab(rgb / 255)
    torch.manual_seed(0)
    batch = to_color_batch(raw(rgb), none(mixup=0.25))
    image, mixed = torch.cat([L, ab], 1), torch.cat([batch.L, batch.ab], 1)
    other = image.roll(1, 0)
    change, most = ((x - image).flatten(1) for x in (mixed, other))
    shares = (change * most).sum(1) / most.square().sum(1)  # of the other image
    torch.testing.assert_close(change, shares[:, None] * most, atol=1e-3, rtol=0)
    assert shares.min() > -1e-4
    drawn = shares[shares > 1e-3]
    assert len(drawn) / 200 == pytest.approx(0.25, abs=0.08)
    assert drawn.mean() == pytest.approx(0.25, abs=0.08)
    assert drawn.min() < 0.06 < 0.44 < drawn.max() < 0.5 + 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"crop_scale": (0.5, 1.0)},
        {"flip": 0.5, "crop_scale": (0.5, 1.0)},
        {"rotation": 20.0},
        {"flip": 0.5, "rotation": 20.0},
    ],
    ids=str,
)
def test_augmentation_equals_kornia(options):
    """Kornia computes its grids differently, from matrices on the device."""
    rgb = smooth(6, size=32) / 255
    steps = []
    if "flip" in options:
        steps.append(K.RandomHorizontalFlip(p=0.5))
    if "rotation" in options:
        steps.append(K.RandomAffine(20.0, padding_mode="reflection", p=1.0))
    if "crop_scale" in options:
        steps.append(K.RandomResizedCrop((24, 24), options["crop_scale"], cropping_mode="resample"))
    ours = none(24 if "crop_scale" in options else 32, crop_ratio=(3 / 4, 4 / 3), **options)
    torch.manual_seed(5)
    expected = torch.nn.Sequential(*steps)(rgb)
    following = torch.rand(1)
    torch.manual_seed(5)
    actual = moved(ours, rgb)
    assert torch.rand(1) == following, "another number of draws"
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_no_crop_equals_the_loader_resize():
    rgb = smooth(2, size=60)
    actual = moved(none(24), rgb) * 255
    expected = torch.stack([resize_short_side(image, 24) for image in rgb])
    assert (actual - expected).abs().max() < 1.01


def test_one_pixel_image():
    rgb = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1)
    augmentation = Augmentation(1, AugmentationOptions(flip=1.0, rotation=10.0))
    torch.testing.assert_close(moved(augmentation, rgb), rgb / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("key", "value", "accepted", "limit"),
    [
        ("flip", float("nan"), "from 0 to 1", 1),
        ("grey_jitter", -0.1, "from 0 to 1", 1.0),
        ("color_jitter", 2, "from 0 to 1", 1.0),
        ("mixup", 1.5, "from 0 to 1", 1),
        ("jpeg", float("nan"), "from 0 to 1", 0.5),
        ("rotation", -3, "from 0 to 180 degrees", 180),
        ("crop_scale", (0.5, 5), "above 0 and at most 1", (1.0, 1.0)),
        ("crop_ratio", (2, 0.5), "the smaller number first", (1, 1)),
        ("crop_ratio", (0.0, 1.0), "above 0", (0.1, 1)),
        ("crop_ratio", (1.0, float("inf")), "above 0", (1, 100)),
    ],
)
def test_invalid_options_are_refused(key, value, accepted, limit):
    message = f"^--data.augmentation.{key} is .*: it must be .*{accepted}"
    with pytest.raises(UsageError, match=message):
        AugmentationOptions(**{key: value})
    AugmentationOptions(**{key: limit})


def test_configurations_of_older_runs_are_nested():
    old = {"data": {"size": 32, "flip": 0.1, "crop_scale": None}, "model": {"flip": True}}
    new = {
        "data": {"size": 32, "augmentation": {"flip": 0.1, "crop_scale": None}},
        "model": {"flip": True},
    }
    assert nest_augmentation(old) == new
    for config in (new, {"data": {"size": 1}}, {"data": "x"}, [], "x", None):
        assert nest_augmentation(config) == config
