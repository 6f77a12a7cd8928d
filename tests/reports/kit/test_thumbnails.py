import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lightning_colorize.reports.kit.thumbnails import SIDE, Sprites, Strip, thumbnail
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


def _versions(index):
    """Three versions, each of a color of its own; every second image is tall."""
    size = (60, 30) if index % 2 else (100, 300)
    return [Image.new("RGB", size, (5 * index, 80 * column, 200)) for column in range(3)]


def test_each_image_is_found_again_in_files_of_few_pixels(tmp_path):
    (tmp_path / "0009.jpg").touch()  # of an earlier comparison
    sprites = Sprites(tmp_path, 3)
    cells = [sprites.add(_versions(index)) for index in range(2 * sprites.rows + 1)]
    # Files are written when they are full.
    assert len(list(tmp_path.iterdir())) == 2
    sprites.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0000.jpg", "0001.jpg", "0002.jpg"]
    for index in (0, 1, sprites.rows, 2 * sprites.rows):
        images = sprites.read(cells[index])
        expected = (60, 30) if index % 2 else (round(SIDE / 3), SIDE)
        assert [image.size for image in images] == [expected] * 3 == [cells[index][2:]] * 3
        for image, version in zip(images, _versions(index), strict=True):
            color = np.asarray(image).mean(axis=(0, 1))
            assert color == pytest.approx(version.getpixel((0, 0)), abs=3)
    for file in tmp_path.iterdir():
        width, height = Image.open(file).size
        assert width == 3 * SIDE
        assert width * height <= 2**18
    assert Image.open(tmp_path / "0002.jpg").height == SIDE


def test_a_comparison_of_no_images_writes_no_file(tmp_path):
    Sprites(tmp_path, 2).close()
    assert not list(tmp_path.iterdir())
