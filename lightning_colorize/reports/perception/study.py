"""Writes the study page, its images and the trials of each participant."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar

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
from lightning_colorize.reports.comparison.collector import Plan
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.perception.answers import FORMAT, VERSION

Item = TypeVar("Item")

Question = Literal["real", "better"]

TRIALS, CHECKS = 24, 3
"""Trials and attention checks of each question on a page."""

TRUTH, BROKEN = -1, -2
"""The photograph and wrong colors, in addition to the indices of systems."""

STUDY, IMAGES = "study.html", "study"

_COUNT = 60  # images; more than one participant sees
_SIDE = 384  # largest short side of an image, in pixels
_PLANS = 100  # each participant draws one
_DIGEST = 12  # bytes of an image's file name
_PATCHES = 4  # patches of wrong color along each side
_CHROMA = 55.0


class PlannedTrial(NamedTuple):
    """One pair of images, which `left` and `right` colored: a system's index, TRUTH or BROKEN."""

    question: Question
    check: bool
    image: int
    left: int
    right: int


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
    names = plan.found.names
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


def make_plan(
    systems: int, categories: Sequence[str], questions: Sequence[Question], seed: int
) -> list[PlannedTrial]:
    """Return one participant's trials in their order.

    Each question has TRIALS, rounded down to a multiple of the number of systems, and attention
    CHECKS. Within a question, every system has the same number of trials and is equally often on
    each side (up to one); categories alternate; an image repeats only after all images of its
    category. The order of questions and trials, and the sides, are random.
    """
    random = Random(seed)
    images = _images(categories, random)
    orders = _orders(random)
    plan = []
    for question in _shuffled(questions, random):
        rounds = max(1, TRIALS // systems)  # of each question, by system
        if question == "real":
            sides = _orders(random)
            block = [
                PlannedTrial(question, False, next(images), *(system, TRUTH)[:: next(sides)])
                for system in range(systems)
                for _ in range(rounds)
            ]
        else:
            pairs = _against_each_other(systems, rounds, random)
            block = [PlannedTrial(question, False, next(images), *pair) for pair in pairs]
        random.shuffle(block)
        good = cycle([TRUTH] if question == "real" else _shuffled(range(systems), random))
        part = len(block) // CHECKS
        for number in reversed(range(CHECKS)):
            pair = (next(good), BROKEN)[:: next(orders)]
            trial = PlannedTrial(question, True, next(images), *pair)
            block.insert(number * part + random.randint(0, part), trial)
        plan += block
    return plan


def _against_each_other(systems: int, rounds: int, random: Random) -> Iterator[tuple[int, int]]:
    """Pair each system with the one at a distance in a ring, another distance in each round.

    Every system is then once left and once right in each round, and over all distances each pair
    occurs in both orders.
    """
    ring = _shuffled(range(systems), random)
    distances = cycle(_shuffled(range(1, systems), random))
    for _, distance in zip(range(rounds), distances, strict=False):
        pairs = [(ring[i], ring[(i + distance) % systems]) for i in range(systems)]
        # Shuffled before they get images: no category may always have the same pair.
        yield from _shuffled(pairs, random)


def _images(categories: Sequence[str], random: Random) -> Iterator[int]:
    """Yield images of alternating categories; none repeats before the rest of its category."""
    members: dict[str, list[int]] = {}
    for index, category in enumerate(categories):
        members.setdefault(category, []).append(index)
    unused: dict[str, list[int]] = {category: [] for category in members}
    for category in cycle(_shuffled(list(members), random)):
        if not unused[category]:
            unused[category] = _shuffled(members[category], random)
        yield unused[category].pop()


def _orders(random: Random) -> Iterator[int]:
    """Yield 1 or -1, the step through a pair: each once in two, so that sides stay balanced."""
    while True:
        yield from _shuffled((1, -1), random)


def _shuffled(items: Sequence[Item], random: Random) -> list[Item]:
    return random.sample(items, len(items))
