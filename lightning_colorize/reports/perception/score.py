"""Rates from answers: how often a system fooled people, and how often it was preferred."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scipy.stats import binomtest

from lightning_colorize.metrics.spec import CONFIDENCE
from lightning_colorize.reports.perception.answers import Answers, Trial

QUESTIONS: Mapping[str, str] = {"real": "fooling", "better": "preference"}
"""The rate that each question of the page gives."""


@dataclass(frozen=True)
class Rate:
    """A share of the trials in which a system was shown, with Wilson's 95 % interval."""

    chosen: int
    trials: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.chosen / self.trials


Rates = dict[str, dict[str, Rate]]
"""Rates by question and system; a system without trials is missing."""


def score(answers: Answers) -> tuple[Rates, dict[str, Rates]]:
    """Return the rates over all images, and those of each category.

    `real`: share of trials in which the system's image was taken for the photograph; 0.5 if people
    cannot tell them apart. `better`: share of trials in which it was chosen over another system's.
    """
    categories = sorted({trial.category for trial in answers.trials})
    return _rates(answers.trials, answers.systems), {
        name: _rates((t for t in answers.trials if t.category == name), answers.systems)
        for name in categories
    }


def _rates(trials: Iterable[Trial], systems: list[str]) -> Rates:
    shown: Counter[tuple[str, str]] = Counter()
    chosen: Counter[tuple[str, str]] = Counter()
    for trial in trials:
        shown.update((trial.question, side) for side in (trial.left, trial.right))
        chosen[trial.question, trial.chosen] += 1
    return {
        question: {
            system: _rate(chosen[question, system], shown[question, system])
            for system in systems
            if shown[question, system]
        }
        for question in QUESTIONS
    }


def _rate(chosen: int, trials: int) -> Rate:
    interval = binomtest(chosen, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(chosen, trials, float(interval.low), float(interval.high))
