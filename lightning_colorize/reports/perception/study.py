"""The page that asks people: its images, and the page itself."""

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import fit_gamut, to_lab, to_rgb
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.progress import progress
from lightning_colorize.data.dataset import crop_square, limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.images import FileImages
from lightning_colorize.data.splits import random_subset
from lightning_colorize.evaluation.choice import is_grey
from lightning_colorize.reports.comparison.compare import Plan
from lightning_colorize.reports.comparison.entries import printable
from lightning_colorize.reports.comparison.page import render
from lightning_colorize.reports.comparison.sheets import to_image
from lightning_colorize.reports.perception.answers import FORMAT, VERSION
from lightning_colorize.reports.perception.plan import Question, make_plan

STUDY = "study.html"
IMAGES = "study"

_COUNT = 60  # images: enough that nobody sees one twice
_SIDE = 384  # pixels that people are shown, where the photograph has them
_TRIALS = 24  # of each question
_CHECKS = 3  # of each question
_PLANS = 100  # of which each participant draws one
_DIGEST = 12  # bytes of an image's name
_PATCHES = 4  # of wrong colour along each side
_CHROMA = 55.0


def write_study(plan: Plan) -> None:
    """Write the study page and its images into the plan's folder.

    Names of the image files are hashes of their contents, so that they do not tell which one is
    the photograph; all are written alike.

    Args:
        plan: Systems and images.

    Raises:
        UsageError: If none of the images can be read, or none has a colour.
    """
    folder = plan.out / IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    if (plan.out / STUDY).exists():
        for old in folder.glob(f"{'[0-9a-f]' * 2 * _DIGEST}.jpg"):
            old.unlink()
    every = [plan.found.images.name(i) for i in range(len(plan.found.images))]
    chosen = FileImages(plan.data, balanced_subset(every, plan.found.group, _COUNT, plan.seed))
    images = []
    for index in progress(range(len(chosen)), len(chosen), "colouring for the study"):
        try:
            image = _write(plan, chosen, index, folder)
        except ImageError:  # the comparison will name it
            continue
        if image is not None:
            images.append(image)
    if not images:
        raise UsageError(
            f"none of {len(chosen)} images in {plan.data} can be asked about: they cannot be "
            "read, or have no colour"
        )
    questions: list[Question] = ["real"] if plan.truth else []
    if len(plan.systems) > 1:
        questions.append("better")
    categories = [image["category"] for image in images]
    study = {
        "format": FORMAT,
        "version": VERSION,
        "systems": [system.name for system in plan.systems],
        "questions": questions,
        "images": images,
        "plans": [
            make_plan(len(plan.systems), categories, questions, _TRIALS, _CHECKS, plan.seed + i)
            for i in range(_PLANS)
        ],
    }
    study["page"] = blake2b(json.dumps(study).encode(), digest_size=8).hexdigest()
    page = render("study.html.jinja", ["study.css"], ["study.js"], study=study)
    write_atomic(plan.out / STUDY, page)


def balanced_subset(
    names: Sequence[str], category: Callable[[str], str], count: int, seed: int
) -> list[str]:
    """Return at most so many names, as far as possible the same number of each category.

    Args:
        names: The images'.
        category: An image's name to its category.
        count: How many.
        seed: Chooses them.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(category(name), []).append(name)
    chosen: list[str] = []
    # Small categories first: what they do not fill is shared out among the larger ones.
    for number, group in enumerate(sorted(groups.values(), key=len)):
        share = (count - len(chosen)) // (len(groups) - number)
        chosen += random_subset(group, share, seed)
    return sorted(chosen)


def wrong_colors(rgb: Tensor, seed: int) -> Tensor:
    """Return an image that nobody takes for a photograph: a patchwork of strong colours.

    Args:
        rgb: (3, S, S), uint8.
        seed: Of the colours.

    Returns:
        (3, S, S), uint8, of the same lightness.
    """
    L, _ = to_lab(rgb.unsqueeze(0))
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.rand(1, 1, _PATCHES, _PATCHES, generator=generator)
    patches = _CHROMA * torch.cat([angle.cos(), angle.sin()], dim=1)
    ab = F.interpolate(patches, L.shape[-2:], mode="nearest")
    # Black and white have no room for colour.
    L = L.clamp(25, 85)
    return (to_rgb(L, fit_gamut(L, ab))[0] * 255).round().to(torch.uint8)


def _write(plan: Plan, chosen: FileImages, index: int, folder: Path) -> dict[str, Any] | None:
    """Write one image's files; None for a photograph in grey, which is told at a glance."""
    name = chosen.name(index)
    read = limit_length(chosen.read(index, _SIDE))
    side = min(_SIDE, max(plan.size, min(read.shape[-2:])))
    rgb = crop_square(resize_short_side(read, side), side)
    if plan.truth and is_grey(rgb):
        return None
    colored = [system.color_one(name, rgb, plan.size) for system in plan.systems]
    return {
        "name": printable(name),
        "category": printable(plan.found.group(name)),
        "truth": _save(rgb, folder, plan.seed) if plan.truth else None,
        "systems": [_save(each, folder, plan.seed) for each in colored],
        "broken": _save(wrong_colors(rgb, plan.seed + index), folder, plan.seed),
    }


def _save(rgb: Tensor, folder: Path, seed: int) -> str:
    data = BytesIO()
    to_image(rgb).save(data, "JPEG", quality=92, subsampling=0)
    digest = blake2b(data.getvalue(), digest_size=_DIGEST, key=str(seed).encode()).hexdigest()
    path = f"{digest}.jpg"
    (folder / path).write_bytes(data.getvalue())
    return f"{folder.name}/{path}"
