import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.data.dataset import (
    ImageDataset,
    crop_square,
    limit_length,
    resize_short_side,
)
from lightning_colorize.data.images import FileImages


@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [
        (100, 200, 50, (50, 100)),
        (200, 100, 50, (100, 50)),
        (33, 50, 64, (64, 97)),  # 64 / 33 * 50 = 96.97
        (64, 64, 64, (64, 64)),
        (1000, 3, 2, (667, 2)),
    ],
)
def test_resize_short_side(height, width, side, expected):
    resized = resize_short_side(torch.zeros(3, height, width, dtype=torch.uint8), side)
    assert resized.shape == (3, *expected)
    assert resized.dtype == torch.uint8


def test_downscaling_is_antialiased():
    pixels = np.random.default_rng(0).integers(0, 256, size=(80, 120, 3), dtype=np.uint8)
    theirs = Image.fromarray(pixels).resize((30, 20), Image.Resampling.BILINEAR)
    ours = resize_short_side(torch.from_numpy(pixels).permute(2, 0, 1), 20)
    difference = ours.permute(1, 2, 0).int().numpy() - np.asarray(theirs, dtype=int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("position", "start"), [(0.0, 0), (0.5, 5), (1.0, 10)])
def test_crop_position(position, start):
    ramp = torch.arange(14).expand(3, 4, 14)
    assert crop_square(ramp, 4, position)[0, 0].tolist() == list(range(start, start + 4))
    assert crop_square(ramp.mT, 4, position)[0, :, 0].tolist() == list(range(start, start + 4))


@pytest.fixture
def files(tmp_path):
    for number in range(3):
        pixels = np.full((8, 24, 3), 10 * number, dtype=np.uint8) + np.arange(24)[None, :, None]
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    return tmp_path


def test_training_crop_follows_the_draw(files):
    images = FileImages(files, ["0.png"])
    training = ImageDataset(images, 8, random_crop=True)
    starts = [int(training[0, draw].rgb[0, 0, 0]) for draw in (0, 2**31, 2**32 - 1)]
    assert starts == [0, 8, 16]
    evaluation = ImageDataset(images, 8)
    assert int(evaluation[0, 0].rgb[0, 0, 0]) == int(evaluation[0, 2**32 - 1].rgb[0, 0, 0]) == 8


def test_corrupt_image_is_replaced_or_reported(files):
    images = FileImages(files, ["bad.png", "bad.png", "2.png"])
    item = ImageDataset(images, 8, replace_corrupt=True)[0, 0]
    assert item.name == "2.png"
    assert [broken.name for broken in item.corrupt] == ["bad.png", "bad.png"]
    assert item.corrupt[0].error.path == files / "bad.png"
    item = ImageDataset(images, 8)[1, 0]
    assert item.rgb is None
    assert len(item.corrupt) == 1


def test_replacement_wraps_around_once(files):
    around = FileImages(files, ["0.png", "bad.png"])
    assert ImageDataset(around, 8, replace_corrupt=True)[1, 0].name == "0.png"
    hopeless = FileImages(files, ["bad.png", "bad.png"])
    item = ImageDataset(hopeless, 8, replace_corrupt=True)[0, 0]
    assert item.rgb is None
    assert len(item.corrupt) == 2


def test_strip_is_cropped_before_resizing():
    strip = torch.arange(400, dtype=torch.uint8).expand(3, 1, 400)
    assert limit_length(strip).tolist() == strip[:, :, 198:202].tolist()
    assert limit_length(strip.mT).shape == (3, 4, 1)
    whole = torch.zeros(3, 5, 9, dtype=torch.uint8)
    assert limit_length(whole).shape == whole.shape
