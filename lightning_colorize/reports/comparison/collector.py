"""The images of a comparison: a sheet on disk and thumbnails in the page for each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from lightning_colorize.common.text import decodable
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.metrics.spec import COLUMNS
from lightning_colorize.models.whole import seen_side, without_color
from lightning_colorize.reports.comparison.plan import Plan
from lightning_colorize.reports.kit.charts import style_class
from lightning_colorize.reports.kit.thumbnails import SpriteCell, Sprites, Strip, Tile, thumbnail

SHEETS = "sheets"
THUMBNAILS = "thumbnails"

GALLERY = 500
"""Maximum number of images for a gallery in the page."""

_TILE = 128  # smallest short side of a sheet's tile, in pixels
_LONGEST = 8192  # longest side to which it is enlarged: no side of a JPEG has more than 65,500
_MAX_COLUMNS, _MAX_WIDTH = 6, 2400
_GAP = 8
_LINE = 17
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (24, 24, 27), (110, 110, 120)

_PIXELS = 6000 * 92 * 92
"""Thumbnail pixels of a page: 10 systems x 500 images give thumbnails of 92 x 92 pixels."""

_WHITE = 30  # CIEDE2000 that is white in maps

_LARGEST, _SMALLEST = 160**2, 48**2
_NOTED = [COLUMNS.index("ciede2000"), COLUMNS.index("psnr")]


@dataclass
class ComparedImage:
    """One image of the page."""

    name: str
    category: str  # Its first folder.
    sheet: str  # Path relative to the page.
    cell: SpriteCell  # Thumbnails: the systems, then the truth, or grey without truth.
    make_strip: Callable[[], Strip]  # Returns `strip`.
    ciede2000: list[float]  # CIEDE2000 of each system; empty without truth.
    disagreement: float = 0.0  # Distance between the systems, in LAB units.

    @cached_property
    def strip(self) -> Strip:
        """Thumbnails: grey, the systems, and the truth where there is one."""
        return self.make_strip()


class ImageCollector:
    """Writes the sheet and the thumbnails of each image that was measured.

    With many images, no thumbnails stay in memory.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.images: list[ComparedImage] = []
        found = plan.found.images
        self._indices = {found.name(index): index for index in range(len(found))}
        self._pixels = thumbnail_pixels(len(found) * (len(plan.systems) + 1 + plan.truth))
        self.sprites = Sprites(plan.out / THUMBNAILS, len(plan.systems) + 1)
        (plan.out / SHEETS).mkdir(parents=True, exist_ok=True)

    def add(self, name: str, values: Tensor | None) -> None:
        """Color an image whole, write its sheet and its thumbnails.

        `values` is (systems, columns of `spec.COLUMNS`), or None without truth.
        """
        plan = self.plan
        rgb = plan.found.images.read(self._indices[name], plan.size)
        rgb = resize_short_side(rgb, seen_side(rgb.shape[-2], rgb.shape[-1], plan.size))
        images = [to_pil_image(without_color(rgb))]
        maps = []
        for system in plan.systems:
            try:
                colored = to_pil_image(system.color_whole(name, rgb, plan.size, seed=plan.seed))
                if plan.samples > 1 and system.model.draws:
                    shown = system.difference_map(rgb, plan.samples, plan.seed) / _WHITE
                    maps.append((system.name, to_pil_image(shown.clamp(max=1).cpu())))
            except FloatingPointError:  # counted by the measurement
                colored = _no_image(rgb.shape[-1], rgb.shape[-2])
            images.append(colored)
        if plan.truth:
            images.append(to_pil_image(rgb))
        whos = ["grey", *(system.name for system in plan.systems), "truth"][: len(images)]
        labels = [(who, "") for who in whos]
        notes = [""] * len(images)
        if values is not None:
            for index, (delta_e, psnr) in enumerate(values[:, _NOTED].tolist(), start=1):
                notes[index] = f"ΔE {_rounded(delta_e)}"
                # Pillow's own font has no Greek.
                note = f"dE {_rounded(delta_e)}, PSNR {_rounded(psnr)}"
                labels[index] = whos[index], note
        styles = ["", *(style_class(index) for index in range(len(plan.systems))), ""]
        labeled = list(zip(whos, notes, styles, strict=False))
        cell = self.sprites.add(images[1:] if plan.truth else [*images[1:], images[0]])
        path = f"{SHEETS}/{len(self.images):05d}.jpg"
        title = decodable(name)
        labels += [(who, f"samples differ, white: dE {_WHITE}") for who, _ in maps]
        sheet = draw_sheet([*images, *(image for _, image in maps)], labels, title)
        sheet.save(plan.out / path, quality=88)
        make_strip: Callable[[], Strip]
        if len(plan.found.images) > GALLERY:
            make_strip = partial(self._strip_of, cell, title, labeled)
        else:
            make_strip = partial(Strip, title, _tiles(images, labeled, self._pixels))
        self.images.append(
            ComparedImage(
                title,
                decodable(plan.found.category_of(name)),
                path,
                cell,
                make_strip,
                [] if values is None else values[:, _NOTED[0]].tolist(),
            )
        )

    def close(self) -> None:
        """Write the last thumbnails."""
        self.sprites.close()

    def _strip_of(
        self, cell: SpriteCell, title: str, labeled: Sequence[tuple[str, str, str]]
    ) -> Strip:
        """Return the strip of an image whose thumbnails are written."""
        *images, last = self.sprites.read(cell)
        grey = to_pil_image(without_color(pil_to_tensor(last)))
        whole = [grey, *images, *([last] if self.plan.truth else [])]
        return Strip(title, _tiles(whole, labeled, _LARGEST))


def _tiles(
    images: Sequence[Image.Image], labeled: Sequence[tuple[str, str, str]], pixels: int
) -> list[Tile]:
    """Return the thumbnails of images, each with `who`, note and style."""
    return [
        Tile(thumbnail(image, pixels), *words) for image, words in zip(images, labeled, strict=True)
    ]


def thumbnail_pixels(count: int) -> int:
    """Return the pixels of a thumbnail, given their number, so that the page stays small."""
    return min(_LARGEST, max(_SMALLEST, _PIXELS // count))


def draw_sheet(
    images: list[Image.Image],
    labels: list[tuple[str, str]],
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
    canvas = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    draw.text((_GAP, _GAP), _fitted(draw, title, font, size[0] - 2 * _GAP), _FAINT, font)
    for index, (image, (name, note)) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, columns)
        x, y = _GAP + column * (width + _GAP), _LINE + 2 * _GAP + row * cell_height
        canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC), (x, y))
        y += height + 4
        draw.text((x, y), _fitted(draw, name, font, width), _INK, font)
        draw.text((x, y + _LINE), _fitted(draw, note, font, width), _FAINT, font)
    return canvas


def _no_image(width: int, height: int) -> Image.Image:
    """Return the placeholder for a prediction that is not finite."""
    image = Image.new("RGB", (width, height), _FAINT)
    font = ImageFont.load_default(max(8, width // 8))
    center = (width / 2, height / 2)
    ImageDraw.Draw(image).text(center, "not finite", _BACKGROUND, font, anchor="mm")
    return image


def _rounded(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


def _fitted(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """Return a text in one line, cut at its end where it is too long."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
