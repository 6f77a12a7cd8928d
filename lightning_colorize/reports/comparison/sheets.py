"""Images as files and as part of a page: sheets with labels, thumbnails."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_TILE = 128  # pixels that a tile of a sheet has at least
_ROW = 6  # tiles side by side; more begin a new row
_GAP = 8
_LINE = 17
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (24, 24, 27), (110, 110, 120)

_PIXELS = 6000 * 96 * 96
"""Thumbnail pixels of a whole page; 10 systems x 500 images come to 96 px each."""

_LARGEST, _SMALLEST = 160, 48


class Label(NamedTuple):
    """What stands below a tile.

    Attributes:
        name: Whose it is.
        note: A second line; may be empty.
    """

    name: str
    note: str


def sheet(tiles: Sequence[Tensor], labels: Sequence[Label], title: str) -> Image.Image:
    """Return a sheet of labelled tiles, in rows of at most six.

    Args:
        tiles: (3, S, S), uint8, each; small ones are enlarged by a whole number.
        labels: One for each.
        title: Stands above them.
    """
    images = [to_image(tile) for tile in tiles]
    side = images[0].width * max(1, -(-_TILE // images[0].width))
    rows = -(-len(tiles) // _ROW)
    columns = -(-len(tiles) // rows)
    cell_height = side + 2 * _LINE + 2 * _GAP
    size = (columns * (side + _GAP) + _GAP, _LINE + 2 * _GAP + rows * cell_height)
    canvas = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    draw.text((_GAP, _GAP), _fitted(draw, title, font, size[0] - 2 * _GAP), _FAINT, font)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (side + _GAP), _LINE + 2 * _GAP + row * cell_height
        canvas.paste(image.resize((side, side), Image.Resampling.BICUBIC), (x, y))
        draw.text((x, y + side + 4), _fitted(draw, label.name, font, side), _INK, font)
        draw.text((x, y + side + 4 + _LINE), _fitted(draw, label.note, font, side), _FAINT, font)
    return canvas


def thumbnail_side(size: int, tiles: int) -> int:
    """Return how many pixels wide thumbnails may be, that a page of so many stays small."""
    return min(size, _LARGEST, max(_SMALLEST, int((_PIXELS / tiles) ** 0.5)))


def thumbnail(rgb: Tensor, side: int) -> str:
    """Return an image as a data URI.

    Args:
        rgb: (3, S, S), uint8.
        side: Width and height in pixels.
    """
    image = to_image(rgb)
    if image.width > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    data = BytesIO()
    image.save(data, "WEBP", quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


def to_image(rgb: Tensor) -> Image.Image:
    """Return (3, H, W), uint8, as Pillow has it."""
    return Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())


def _fitted(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """Return a text in one line, shortened at its end where it is too long."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
