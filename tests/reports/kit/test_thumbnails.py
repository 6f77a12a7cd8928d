import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lightning_colorize.reports.kit.thumbnails import Strip, thumbnail
from tests.conftest import make_image


@pytest.mark.parametrize(("width", "height", "size"), [(128, 128, (32, 32)), (256, 64, (64, 16))])
def test_a_thumbnail_is_the_whole_image(width, height, size):
    image = make_image(1, width, height)
    small = thumbnail(image, 32 * 32)
    assert small.src.startswith("data:image/webp;base64,")
    decoded = Image.open(BytesIO(base64.b64decode(small.src.partition(",")[2])))
    assert decoded.size == (small.width, small.height) == size
    mean = np.asarray(decoded.convert("RGB")).mean(axis=(0, 1))
    assert mean == pytest.approx(np.asarray(image).mean(axis=(0, 1)), abs=4)


def test_a_thumbnail_is_not_enlarged():
    assert thumbnail(make_image(1, 20, 10), 10_000)[1:] == (20, 10)


@pytest.mark.parametrize(
    ("count", "columns"), [(2, 3), (3, 3), (4, 2), (5, 3), (7, 4), (10, 2), (12, 3), (13, 5)]
)
def test_the_last_image_of_a_strip_is_not_alone_on_a_phone(count, columns):
    assert Strip("beach.jpg", [None] * count).narrow == columns
