"""Writes the study page and its images."""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.color import to_lab, to_rgb_in_gamut
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.progress import progress
from lightning_colorize.common.text import decodable
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.image_set import ChosenImages
from lightning_colorize.data.splits import random_subset
from lightning_colorize.evaluation.data import is_grey
from lightning_colorize.models.image import seen_side
from lightning_colorize.reports.comparison.plan import Plan
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.perception.answers import FORMAT, VERSION
from lightning_colorize.reports.perception.plan import Question, make_plan

STUDY, IMAGES = "study.html", "study"

_COUNT = 60  # images; more than one participant sees
_SIDE = 384  # largest short side of an image, in pixels
_PLANS = 100  # each participant draws one
_DIGEST = 12  # bytes of an image's file name
_PATCHES = 4  # patches of wrong color along each side
_CHROMA = 55.0


def write_study(plan: Plan) -> None:
    """Write the study page and its images into the plan's folder.

    File names are hashes of the contents and all files are written alike, so that nothing reveals
    which image is the photograph.
    """
    folder = plan.out / IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    if (plan.out / STUDY).exists():
        for old in folder.glob(f"{'[0-9a-f]' * 2 * _DIGEST}.jpg"):
            old.unlink()
    names = [plan.found.images.name(i) for i in range(len(plan.found.images))]
    some = {*balanced_subset(names, plan.found.category_of, _COUNT, plan.seed)}
    indices = [i for i, name in enumerate(names) if name in some]
    chosen = ChosenImages(plan.found.images, indices)
    images = []
    for index in progress(range(len(chosen)), len(chosen), "coloring for the study"):
        try:
            image = _write(plan, chosen, index, folder)
        except (ImageError, FloatingPointError):  # the comparison reports it
            continue
        if image is not None:
            images.append(image)
    if not images:
        raise UsageError(
            f"none of {len(chosen)} images in {plan.data} can be used in the study: they cannot "
            "be read, have no color, or a system fails"
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
            make_plan(len(plan.systems), categories, questions, plan.seed + i)
            for i in range(_PLANS)
        ],
    }
    study["page"] = blake2b(json.dumps(study).encode(), digest_size=8).hexdigest()
    write_atomic(plan.out / STUDY, study_html(study))


def study_html(study: Mapping[str, Any]) -> str:
    """Return the page of a study."""
    assets = ("kit.css", "study.css", "study.js")
    return render("study.html.jinja", *assets, page={"title": "Which image?"}, study=study)


def balanced_subset(
    names: Sequence[str], category: Callable[[str], str], count: int, seed: int
) -> list[str]:
    """Return at most `count` names, as evenly as possible from all categories."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(category(name), []).append(name)
    chosen: list[str] = []
    # Small categories first: the larger ones share what these leave.
    for index, group in enumerate(sorted(groups.values(), key=len)):
        share = (count - len(chosen)) // (len(groups) - index)
        chosen += random_subset(group, share, seed)
    return sorted(chosen)


def wrong_colors(rgb: Tensor, seed: int) -> Tensor:
    """Return an image that nobody mistakes for a photograph: patches of strong colors.

    Its lightness is close to the lightness of `rgb`; both are (3, H, W), uint8.
    """
    L, _ = to_lab(rgb.unsqueeze(0))
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.rand(1, 1, _PATCHES, _PATCHES, generator=generator)
    patches = _CHROMA * torch.cat([angle.cos(), angle.sin()], dim=1)
    ab = F.interpolate(patches, L.shape[-2:], mode="nearest")
    # Black and white have no room for chroma.
    L = L.clamp(25, 85)
    return (to_rgb_in_gamut(L, ab)[0] * 255).round().to(torch.uint8)


def _write(plan: Plan, chosen: ChosenImages, index: int, folder: Path) -> dict[str, Any] | None:
    """Write the files of one image; None for a grey photograph, which is easily recognized."""
    name = chosen.name(index)
    read = chosen.read(index, _SIDE)
    height, width = read.shape[-2:]
    side = min(_SIDE, max(plan.size, min(height, width)))
    rgb = resize_short_side(read, seen_side(height, width, side))
    if plan.truth and is_grey(rgb):
        return None
    colored = [s.color_whole(name, rgb, plan.size, seed=plan.seed) for s in plan.systems]
    return {
        "name": decodable(name),
        "category": decodable(plan.found.category_of(name)),
        "truth": _save(rgb, folder, plan.seed) if plan.truth else None,
        "systems": [_save(each, folder, plan.seed) for each in colored],
        "broken": _save(wrong_colors(rgb, plan.seed + index), folder, plan.seed),
    }


def _save(rgb: Tensor, folder: Path, seed: int) -> str:
    data = BytesIO()
    to_pil_image(rgb).save(data, "JPEG", quality=92, subsampling=0)
    digest = blake2b(data.getvalue(), digest_size=_DIGEST, key=str(seed).encode()).hexdigest()
    path = f"{digest}.jpg"
    (folder / path).write_bytes(data.getvalue())
    return f"{folder.name}/{path}"
