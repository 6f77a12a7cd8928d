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
from lightning_colorize.data.image_set import FileImages


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


def test_strip_is_cropped_before_resizing():
    strip = torch.arange(400, dtype=torch.uint8).expand(3, 1, 400)
    assert limit_length(strip).tolist() == strip[:, :, 198:202].tolist()
    assert limit_length(strip.mT).shape == (3, 4, 1)
    assert limit_length(torch.zeros(3, 5, 9)).shape == (3, 5, 9)


@pytest.fixture
def dataset(tmp_path):
    """Returns the data set of a wide image of brightness 10 n for each number n; None: broken."""
    pixels = np.zeros((8, 24, 3), dtype=np.uint8) + np.arange(24, dtype=np.uint8)[None, :, None]
    for number in range(3):
        Image.fromarray(pixels + np.uint8(10 * number)).save(tmp_path / f"{number}.png")
    (tmp_path / "None.png").write_bytes(b"nothing")
    return lambda numbers, **options: ImageDataset(
        FileImages(tmp_path, [f"{number}.png" for number in numbers]), 8, **options
    )


def test_training_crop_follows_the_draw(dataset):
    training, evaluation = dataset([0], training=True), dataset([0])
    draws = (0, 2**31, 2**32 - 1)
    assert [int(training[0, draw].rgb[0, 0, 0]) for draw in draws] == [0, 8, 16]
    assert [int(evaluation[0, draw].rgb[0, 0, 0]) for draw in draws] == [8, 8, 8]


@pytest.mark.parametrize(
    ("numbers", "index", "replaces", "read", "corrupt"),
    [
        ([None, None, 2], 0, True, 2, 2),
        ([None, None, 2], 1, False, None, 1),
        ([0, None], 1, True, 0, 1),  # around the end
        ([None, None], 0, True, None, 2),  # once
    ],
)
def test_corrupt_image_is_replaced_or_reported(dataset, numbers, index, replaces, read, corrupt):
    images = dataset(numbers, training=replaces)
    item = images[index, 2**31]
    assert [(b.name, b.error.path.name) for b in item.corrupt] == [("None.png",) * 2] * corrupt
    if read is None:
        assert item.rgb is None
    else:
        assert item.image == read
        assert item.rgb[0, 0, 0] == 10 * read + 8
