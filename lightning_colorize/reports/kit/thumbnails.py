"""Images of a page: thumbnails as data URIs, strips of them, and sprites: files of many."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

SIDE = 112  # of a sprite's cell, in pixels
_PIXELS = 2**18
"""Maximum pixels of a file: a browser decodes all of it to show one image."""

_BACKGROUND = (128, 128, 128)


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


def thumbnail(image: Image.Image, pixels: int) -> Thumbnail:
    """Return a copy that fits into so many pixels, in its own aspect ratio, never enlarged."""
    scale = min(1.0, (pixels / (image.width * image.height)) ** 0.5)
    width, height = (max(1, round(scale * length)) for length in image.size)
    if scale < 1:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    data = BytesIO()
    image.save(data, "WEBP", quality=80, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
    return Thumbnail(uri, width, height)


class SpriteCell(NamedTuple):
    """The position of one image's versions: a row of a file; sizes in pixels."""

    file: int
    row: int
    width: int
    height: int


class Sprites:
    """Writes sprites, which load when scrolled into view: a row has the versions of one image.

    Only the file that is being filled is in memory. Old files in the folder are removed. `columns`
    is the number of versions.
    """

    def __init__(self, folder: Path, columns: int) -> None:
        self.folder, self.columns = folder, columns
        self.rows = max(1, _PIXELS // (columns * SIDE**2))
        self._count = 0
        self._canvas: Image.Image | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{'[0-9]' * 4}.jpg"):
            old.unlink()

    def add(self, images: Sequence[Image.Image]) -> SpriteCell:
        """Add the versions of one image, all of one size, as thumbnails of at most 112 x 112."""
        file, row = divmod(self._count, self.rows)
        if self._canvas is None:
            self._canvas = Image.new("RGB", (self.columns * SIDE, self.rows * SIDE), _BACKGROUND)
        scale = min(1.0, SIDE / max(images[0].size))
        width, height = (max(1, round(scale * length)) for length in images[0].size)
        for column, image in enumerate(images):
            small = image.resize((width, height), Image.Resampling.LANCZOS)
            self._canvas.paste(small, (column * SIDE, row * SIDE))
        self._count += 1
        if row + 1 == self.rows:
            self.close()
        return SpriteCell(file, row, width, height)

    def close(self) -> None:
        """Write the last file; images of earlier files remain."""
        if self._canvas is None:
            return
        file, row = divmod(self._count - 1, self.rows)
        used = self._canvas.crop((0, 0, self._canvas.width, (row + 1) * SIDE))
        # Colors at full resolution: they are what people compare.
        used.save(self.folder / f"{file:04d}.jpg", quality=82, subsampling=0)
        self._canvas = None

    def read(self, cell: SpriteCell) -> list[Image.Image]:
        """Return the versions of one image, from its written file."""
        top = cell.row * SIDE
        with Image.open(self.folder / f"{cell.file:04d}.jpg") as file:
            return [
                file.crop((left, top, left + cell.width, top + cell.height))
                for left in range(0, self.columns * SIDE, SIDE)
            ]
