"""Who is asked what: the pairs of one participant of a study, random and balanced."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from random import Random
from typing import Literal, NamedTuple, TypeVar

Item = TypeVar("Item")

Question = Literal["real", "better"]

_Side = Callable[[int, int], tuple[int, int]]

TRUTH, BROKEN = -1, -2
"""What stands in a pair beside the numbers of systems: the photograph, wrong colours."""


class Trial(NamedTuple):
    """One pair.

    Attributes:
        question: `real` (a system against the truth) or `better` (two systems).
        check: Whether it is there to see that the participant attends.
        image: Its number.
        left: A system's number, `TRUTH` or `BROKEN`.
        right: Likewise.
    """

    question: Question
    check: bool
    image: int
    left: int
    right: int


def make_plan(
    systems: int,
    categories: Sequence[str],
    questions: Sequence[Question],
    trials: int,
    checks: int,
    seed: int,
) -> list[Trial]:
    """Return a participant's trials in their order.

    Within a question, every system is asked about equally often and stands on each side equally
    often (but for one where the number is odd); categories take turns; no image comes twice
    before all of its category were used. Which question comes first, the order within it and the
    sides are random.

    Args:
        systems: Their number.
        categories: Of each image.
        questions: Those that are asked.
        trials: Of each question; fewer where that number does not divide by the systems'.
        checks: Of each question, spread over it.
        seed: Of everything that is random.
    """
    random = Random(seed)
    images = _images(categories, random)
    sides = _sides(random)
    plan = []
    for question in _shuffled(questions, random):
        rounds = max(1, trials // systems)
        if question == "real":
            block = _against_truth(systems, rounds, images, random)
        else:
            block = _against_each_other(systems, rounds, images, random)
        random.shuffle(block)
        good = cycle([TRUTH] if question == "real" else _shuffled(range(systems), random))
        part = len(block) // checks
        for number in reversed(range(checks)):
            pair = next(sides)(next(good), BROKEN)
            trial = Trial(question, True, next(images), *pair)
            block.insert(number * part + random.randint(0, part), trial)
        plan += block
    return plan


def _against_truth(systems: int, rounds: int, images: Iterator[int], random: Random) -> list[Trial]:
    sides = _sides(random)
    return [
        Trial("real", False, next(images), *next(sides)(system, TRUTH))
        for system in range(systems)
        for _ in range(rounds)
    ]


def _against_each_other(
    systems: int, rounds: int, images: Iterator[int], random: Random
) -> list[Trial]:
    """Pair each system with the one so many places further on in a ring, round by round.

    Each is then once left and once right in every round, and over all distances everybody meets
    everybody on both sides.
    """
    ring = _shuffled(range(systems), random)
    distances = cycle(_shuffled(range(1, systems), random))
    trials = []
    for _, distance in zip(range(rounds), distances, strict=False):
        pairs = [(ring[i], ring[(i + distance) % systems]) for i in range(systems)]
        # Shuffled before images are given out: no category may always come with the same pair.
        trials += [Trial("better", False, next(images), *pair) for pair in _shuffled(pairs, random)]
    return trials


def _images(categories: Sequence[str], random: Random) -> Iterator[int]:
    """Yield images, their categories in turn, each category's all before one comes again."""
    members: dict[str, list[int]] = {}
    for number, category in enumerate(categories):
        members.setdefault(category, []).append(number)
    waiting: dict[str, list[int]] = {category: [] for category in members}
    for category in cycle(_shuffled(list(members), random)):
        if not waiting[category]:
            waiting[category] = _shuffled(members[category], random)
        yield waiting[category].pop()


def _sides(random: Random) -> Iterator[_Side]:
    """Yield who stands where, in pairs of both orders, so that sides never drift apart."""
    orders: list[_Side] = [lambda one, other: (one, other), lambda one, other: (other, one)]
    while True:
        yield from _shuffled(orders, random)


def _shuffled(items: Sequence[Item], random: Random) -> list[Item]:
    return random.sample(items, len(items))
