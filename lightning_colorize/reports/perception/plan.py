"""The trials of each participant of a study: random and balanced."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random
from typing import Literal, NamedTuple, TypeVar

Item = TypeVar("Item")

Question = Literal["real", "better"]

TRIALS, CHECKS = 24, 3
"""Trials and attention checks of each question on a page."""

TRUTH, BROKEN = -1, -2
"""The photograph and wrong colors, in addition to the indices of systems."""


class PlannedTrial(NamedTuple):
    """One pair of images, which `left` and `right` colored: a system's index, TRUTH or BROKEN."""

    question: Question
    check: bool
    image: int
    left: int
    right: int


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
