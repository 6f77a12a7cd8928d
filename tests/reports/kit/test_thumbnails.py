import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lightning_colorize.reports.kit.images import (
    SIDE,
    Strip,
    read_thumbnails,
    thumbnail,
    write_thumbnails,
)
from tests.conftest import make_image


@pytest.mark.parametrize(
    ("width", "height", "size"), [(128, 128, (32, 32)), (256, 64, (64, 16)), (20, 10, (20, 10))]
)
def test_a_thumbnail_is_the_whole_image_and_not_enlarged(width, height, size):
    image = make_image(1, width, height)
    small = thumbnail(image, 32 * 32)
    assert small.src.startswith("data:image/webp;base64,")
    decoded = Image.open(BytesIO(base64.b64decode(small.src.partition(",")[2])))
    assert decoded.size == (small.width, small.height) == size
    mean = np.asarray(decoded.convert("RGB")).mean(axis=(0, 1))
    assert mean == pytest.approx(np.asarray(image).mean(axis=(0, 1)), abs=4)


@pytest.mark.parametrize(
    ("count", "columns"), [(2, 3), (3, 3), (4, 2), (5, 3), (7, 4), (10, 2), (12, 3), (13, 5)]
)
def test_the_last_image_of_a_strip_is_not_alone_on_a_phone(count, columns):
    assert Strip("beach.jpg", [None] * count).narrow == columns


@pytest.mark.parametrize("size", [(60, 30), (100, 300)])
def test_thumbnails_of_a_file_are_read_again(tmp_path, size):
    images = [Image.new("RGB", size, (40, 80 * column, 200)) for column in range(3)]
    small = write_thumbnails(tmp_path / "a.jpg", images)
    assert small == (size if size == (60, 30) else (round(SIDE / 3), SIDE))
    again = read_thumbnails(tmp_path / "a.jpg", 3)
    assert [image.size for image in again] == [small] * 3
    for image, expected in zip(again, images, strict=True):
        color = np.asarray(image).mean(axis=(0, 1))
        assert color == pytest.approx(expected.getpixel((0, 0)), abs=3)
