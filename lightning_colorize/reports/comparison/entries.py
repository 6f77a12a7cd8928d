"""The images of a page: sheets are written, thumbnails kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lightning_colorize.evaluation.measured import Tiles
from lightning_colorize.metrics.spec import COLUMNS
from lightning_colorize.reports.comparison.sheets import Label, sheet, thumbnail

SHEETS = "sheets"

_PSNR, _DELTA_E = (COLUMNS.index(name) for name in ("psnr", "ciede2000"))


@dataclass
class Entry:
    """One image of the page.

    Attributes:
        name: The image's.
        category: Its first folder.
        sheet: Its sheet, relative to the page.
        grey: Its thumbnail, as a data URI.
        tiles: Those of the systems.
        truth: That of the truth; empty without truth.
        ciede2000: Each system's; empty without truth.
        disagreement: How far the systems are apart.
    """

    name: str
    category: str
    sheet: str
    grey: str
    tiles: list[str]
    truth: str
    ciede2000: list[float]
    disagreement: float = 0.0

    @property
    def notes(self) -> list[str]:
        """What stands beside each system's name."""
        return [f"ΔE {_shown(value)}" for value in self.ciede2000] or [""] * len(self.tiles)


class Entries:
    """Collects images as they are measured.

    Args:
        folder: Of the page.
        systems: Their names.
        side: Pixels of a thumbnail.
        category: An image's name to its category.

    Attributes:
        entries: The images so far.
    """

    def __init__(
        self, folder: Path, systems: list[str], side: int, category: Callable[[str], str]
    ) -> None:
        self.folder = folder
        self.systems = systems
        self.side = side
        self.category = category
        self.entries: list[Entry] = []
        (folder / SHEETS).mkdir(parents=True, exist_ok=True)

    def add(self, tiles: Tiles, values: Tensor | None) -> None:
        """Write an image's sheet and keep its thumbnails.

        Args:
            tiles: The image as everybody colours it.
            values: (systems, columns of `spec.COLUMNS`); None without truth.
        """
        path = f"{SHEETS}/{len(self.entries):05d}.jpg"
        labels = [Label(name, "") for name in ("grey", *self.systems, "truth")]
        if values is not None:
            for number, row in enumerate(values.tolist(), start=1):
                # Pillow's own font has no Greek.
                note = f"dE {_shown(row[_DELTA_E])}, PSNR {_shown(row[_PSNR])}"
                labels[number] = labels[number]._replace(note=note)
        shown = [tiles.grey, *tiles.systems] + ([] if tiles.truth is None else [tiles.truth])
        name = printable(tiles.name)
        sheet(shown, labels[: len(shown)], name).save(self.folder / path, quality=88)
        self.entries.append(
            Entry(
                name,
                printable(self.category(tiles.name)),
                path,
                thumbnail(tiles.grey, self.side),
                [thumbnail(rgb, self.side) for rgb in tiles.systems],
                "" if tiles.truth is None else thumbnail(tiles.truth, self.side),
                [] if values is None else values[:, _DELTA_E].tolist(),
            )
        )


def _shown(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


def printable(name: str) -> str:
    """Return a file name as text: bytes that are none become question marks."""
    return name.encode("utf-8", "replace").decode()
