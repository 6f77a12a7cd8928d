"""Images of a report: contact sheets of labeled images, thumbnails as data URIs and in files."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

SIDE = 160  # largest side of a thumbnail in a file, in pixels
_TILE = 128  # smallest short side of a tile, in pixels
_LONGEST = 8192  # longest side to which it is enlarged: no side of a JPEG has more than 65,500
_MAX_COLUMNS, _MAX_WIDTH = 6, 2400
_GAP, _LINE = 8, 17
BACKGROUND, _INK, FAINT = (255, 255, 255), (24, 24, 27), (110, 110, 120)


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


def draw_sheet(
    images: Sequence[Image.Image],
    labels: Sequence[tuple[str, str]],
    title: str,
    columns: int | None = None,
) -> Image.Image:
    """Return a sheet of labeled images of one size, in rows of at most six or of `columns`.

    Small images that are not too long are enlarged by a whole number. A label is the two lines
    below an image.
    """
    factor = max(1, min(-(-_TILE // min(images[0].size)), _LONGEST // max(images[0].size)))
    width, height = (factor * length for length in images[0].size)
    if columns is None:
        rows = -(-len(images) // max(1, min(_MAX_COLUMNS, _MAX_WIDTH // (width + _GAP))))
        columns = -(-len(images) // rows)
    rows = -(-len(images) // columns)
    cell_height = height + 2 * _LINE + 2 * _GAP
    size = (columns * (width + _GAP) + _GAP, _LINE + 2 * _GAP + rows * cell_height)
    canvas = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (_GAP, _GAP), title, FAINT, size[0] - 2 * _GAP)
    for index, (image, (name, note)) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, columns)
        x, y = _GAP + column * (width + _GAP), _LINE + 2 * _GAP + row * cell_height
        canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC), (x, y))
        _write(draw, (x, y + height + 4), name, _INK, width)
        _write(draw, (x, y + height + 4 + _LINE), note, FAINT, width)
    return canvas


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    color: tuple[int, int, int],
    width: int,
) -> None:
    """Write a text in one line, cut at its end where it is too long."""
    font = ImageFont.load_default(13)
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(text + "…", font) > width:
            text = text[:-1]
        text += "…"
    draw.text(place, text, color, font)
