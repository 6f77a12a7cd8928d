"""A contact sheet of `colorize` results: grey images next to their colors."""

from collections.abc import Mapping, Sequence
from os.path import isfile
from pathlib import Path

from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.common.files import atomic_file
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.inference import Job
from lightning_colorize.models.image import without_color
from lightning_colorize.reports.kit.images import draw_sheet

_SIDE = 256  # pixels of a tile
_MOST = 24  # images
_COLUMNS = 6
_COMMENT = b"lightning-colorize sheet"  # of the JPEG


def write_sheet(file: Path, jobs: Mapping[str, Sequence[Job]]) -> int:
    """Write a JPEG with the grey images and the results of each model; return the number of images.

    The jobs of each model have the same images in the same order. If many have results, an evenly
    spaced selection is shown. Without any, no file is written.
    """
    images = [*zip(*jobs.values(), strict=True)]
    images = [i for i in images if all(isfile(target) for job in i for target in job.targets)]
    tiles, labels, shown, width = [], [], 0, 1
    for of_image in images[:: max(1, -(-len(images) // _MOST))]:
        source, named = of_image[0].source, zip(jobs, of_image, strict=True)
        results = [(name, target) for name, job in named for target in job.targets]
        try:
            tiles += [without_color(_small(source)), *(_small(target) for _, target in results)]
        except ImageError:  # the result is older
            continue
        labels += [(source.name, "grey"), *((name, "") for name, _ in results)]
        shown, width = shown + 1, 1 + len(results)
    if not shown:
        return 0
    columns = max(1, _COLUMNS // width) * width
    squares = [ImageOps.pad(to_pil_image(t), (_SIDE, _SIDE), color="white") for t in tiles]
    sheet = draw_sheet(squares, labels, f"{shown} of {len(images)} images", columns)
    with atomic_file(file, sync=False) as opened:
        sheet.save(opened, "JPEG", quality=92, comment=_COMMENT)
    return shown


def is_sheet(file: Path) -> bool:
    """Return whether a file was written by `write_sheet`."""
    try:
        with Image.open(file, formats=("JPEG",)) as image:
            return image.info.get("comment") == _COMMENT
    except (OSError, Image.DecompressionBombError):
        return False


def _small(path: Path) -> Tensor:
    rgb = read_image(path, _SIDE)
    return resize_short_side(rgb, min(_SIDE, *rgb.shape[1:]))
