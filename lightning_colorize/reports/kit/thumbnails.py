"""Images of a page: thumbnails as data URIs, and strips of them; files of thumbnails."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

SIDE = 160  # largest side of a thumbnail in a file, in pixels


class Thumbnail(NamedTuple):
    """An image inside a page, as a `data:` URI; sizes in pixels."""

    src: str
    width: int
    height: int


class Tile(NamedTuple):
    """One image of a strip: `who` colored it, a `note` next to it, CSS classes of a swatch."""

    image: Thumbnail
    who: str
    note: str = ""
    style: str = ""


class Strip(NamedTuple):
    """The versions of one image, side by side."""

    name: str
    tiles: Sequence[Tile]

    @property
    def narrow(self) -> int:
        """The number of columns on a phone; the last image, the truth, is not alone in its row."""
        return next((n for n in (3, 2, 4, 5) if len(self.tiles) % n != 1), 3)


def thumbnail(image: Image.Image, pixels: int = SIDE**2) -> Thumbnail:
    """Return a copy that fits into so many pixels, in its own aspect ratio, never enlarged."""
    scale = min(1.0, (pixels / (image.width * image.height)) ** 0.5)
    width, height = (max(1, round(scale * length)) for length in image.size)
    if scale < 1:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    data = BytesIO()
    image.save(data, "WEBP", quality=80, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
    return Thumbnail(uri, width, height)


def write_thumbnails(file: Path, images: Sequence[Image.Image]) -> tuple[int, int]:
    """Write images of one size side by side, reduced to at most SIDE; return their new size."""
    scale = min(1.0, SIDE / max(images[0].size))
    width, height = (max(1, round(scale * length)) for length in images[0].size)
    canvas = Image.new("RGB", (len(images) * width, height))
    for column, image in enumerate(images):
        canvas.paste(image.resize((width, height), Image.Resampling.LANCZOS), (column * width, 0))
    # Colors at full resolution: they are what people compare.
    canvas.save(file, quality=85, subsampling=0)
    return width, height


def read_thumbnails(file: Path, count: int) -> list[Image.Image]:
    """Return the images of a file that `write_thumbnails` wrote."""
    with Image.open(file) as opened:
        width = opened.width // count
        lefts = range(0, opened.width, width)
        return [opened.crop((left, 0, left + width, opened.height)) for left in lefts]
