"""The plan of a comparison, and its images: a contact sheet and a file of thumbnails for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.common.text import decodable
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.evaluation.data import EvaluationImages
from lightning_colorize.evaluation.systems import System
from lightning_colorize.evaluation.table import format_number
from lightning_colorize.metrics.spec import COLUMNS
from lightning_colorize.models.base import Model
from lightning_colorize.models.image import seen_side, without_color
from lightning_colorize.reports.kit.charts import style_class
from lightning_colorize.reports.kit.images import (
    BACKGROUND,
    FAINT,
    Strip,
    Tile,
    draw_sheet,
    read_thumbnails,
    thumbnail,
    write_thumbnails,
)

SHEETS, THUMBNAILS = "sheets", "thumbnails"
"""Folders of files that are named by the index of the image: 00000.jpg."""

_WHITE = 30  # CIEDE2000 that is white in maps
_FORM = "{:.1f}"  # of metrics next to an image
_NOTED = [COLUMNS.index("ciede2000"), COLUMNS.index("psnr")]


@dataclass(frozen=True)
class Plan:
    """The systems, images and options of a comparison."""

    systems: Sequence[System]  # In the order of the page; differences are relative to the first.
    found: EvaluationImages  # The images that all systems have.
    # Images that were left out because a system does not have them, by system.
    missing: Mapping[str, Sequence[str]]
    trained_on: Mapping[str, int]  # Number of the images that a network was trained on, by network.
    data: Path  # Folder of the true images, as given.
    out: Path  # Folder of the page.
    # Height and width of the measured squares, and short side of the images shown, in pixels.
    size: int
    batch_size: int
    seed: int  # Seed of the bootstrap, the study and the samples.
    device: torch.device
    truth: bool  # Whether the images' own colors are the truth.
    study: bool  # Whether the page links to a study page.
    samples: int = 1  # Colorings per image of the models that sample.


def default_size(systems: Sequence[System]) -> int:
    """Return the size of the first model that has one, or 256 without such a model."""
    sizes = (system.model.size for system in systems if not system.model.sees_whole)
    return next(sizes, Model.size)


@dataclass
class ComparedImage:
    """One image of a comparison."""

    name: str
    category: str  # Its first folder.
    file: str  # Of its sheet, and of its thumbnails: grey, the systems, the truth if there is one.
    size: tuple[int, int]  # Width and height of a thumbnail, in pixels.
    ciede2000: list[float]  # CIEDE2000 of each system; empty without truth.
    disagreement: float = 0.0  # Distance between the systems, in LAB units.

    @property
    def sheet(self) -> str:
        """Path of the sheet, relative to the page."""
        return f"{SHEETS}/{self.file}"

    def strip(self, plan: Plan) -> Strip:
        """Return the thumbnails of the image."""
        names = version_names(plan)
        images = read_thumbnails(plan.out / THUMBNAILS / self.file, len(names))
        tiles = [Tile(thumbnail(i), name) for i, name in zip(images, names, strict=True)]
        for index in range(len(plan.systems)):
            note = f"ΔE {format_number(_FORM, self.ciede2000[index])}" if self.ciede2000 else ""
            tiles[index + 1] = tiles[index + 1]._replace(note=note, style=style_class(index))
        return Strip(self.name, tiles)


def version_names(plan: Plan) -> list[str]:
    """Return the names of the versions of each image."""
    return ["grey", *(system.name for system in plan.systems), *(["truth"] if plan.truth else [])]


class ImageCollector:
    """Writes the sheet and the thumbnails of each image that was measured."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.images: list[ComparedImage] = []
        self._indices = {name: index for index, name in enumerate(plan.found.names)}
        for folder in (SHEETS, THUMBNAILS):
            (plan.out / folder).mkdir(parents=True, exist_ok=True)
            for old in (plan.out / folder).glob(f"{'[0-9]' * 5}.jpg"):
                old.unlink()

    def add(self, name: str, values: Tensor | None) -> None:
        """Color an image whole, write its sheet and its thumbnails.

        `values` is (systems, columns of `spec.COLUMNS`), or None without truth.
        """
        plan = self.plan
        rgb = plan.found.images.read(self._indices[name], plan.size)
        rgb = resize_short_side(rgb, seen_side(rgb.shape[-2], rgb.shape[-1], plan.size))
        images, maps = [to_pil_image(without_color(rgb))], []
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
        noted = [] if values is None else values[:, _NOTED].tolist()
        labels = [(version, "") for version in version_names(plan)]
        for index, (delta_e, psnr) in enumerate(noted, start=1):
            # Pillow's own font has no Greek.
            error, fidelity = (format_number(_FORM, value) for value in (delta_e, psnr))
            labels[index] = labels[index][0], f"dE {error}, PSNR {fidelity}"
        labels += [(system, f"samples differ, white: dE {_WHITE}") for system, _ in maps]
        file, title = f"{len(self.images):05d}.jpg", decodable(name)
        sheet = draw_sheet([*images, *(image for _, image in maps)], labels, title)
        sheet.save(plan.out / SHEETS / file, quality=88)
        size = write_thumbnails(plan.out / THUMBNAILS / file, images)
        category = decodable(plan.found.category_of(name))
        errors = [delta_e for delta_e, _ in noted]
        self.images.append(ComparedImage(title, category, file, size, errors))


def _no_image(width: int, height: int) -> Image.Image:
    """Return the placeholder for a prediction that is not finite."""
    image = Image.new("RGB", (width, height), FAINT)
    font = ImageFont.load_default(max(8, width // 8))
    center = (width / 2, height / 2)
    ImageDraw.Draw(image).text(center, "not finite", BACKGROUND, font, anchor="mm")
    return image
