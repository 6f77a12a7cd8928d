"""Contact sheets: labeled images in rows, as one image."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_TILE = 128  # smallest short side of a tile, in pixels
_LONGEST = 8192  # longest side to which it is enlarged: no side of a JPEG has more than 65,500
_MAX_COLUMNS, _MAX_WIDTH = 6, 2400
_GAP, _LINE = 8, 17
BACKGROUND, _INK, FAINT = (255, 255, 255), (24, 24, 27), (110, 110, 120)


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
