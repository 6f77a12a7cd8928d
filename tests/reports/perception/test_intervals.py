"""Intervals of rates and strengths, against planted preferences and independent computations."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from lightning_colorize.reports.perception.answers import Answers, Participant, Trial
from lightning_colorize.reports.perception.score import (
    PRIOR,
    fit,
    rates,
    resampled_sums,
    strengths,
)
from lightning_colorize.reports.perception.study import make_plan
from tests.reports.perception.simulated import SYSTEMS, answered

PLANTED = {"real": logit([0.15, 0.3, 0.45]), "better": np.array([-0.7, 0.1, 0.6])}
"""Strength of each system for an average rater and image, in log-odds; the truth has 0."""
SPREAD = 0.4
"""Standard deviation of what a rater or an image adds to the strength of a system."""


def _study(seed, raters, images, spread=SPREAD):
    """Return the answers of simulated raters, who differ; so do the images."""
    random = np.random.default_rng(seed)
    of_rater, of_image = (random.normal(0, spread, (n, 2, 3)) for n in (raters, images))
    people = []
    for rater in range(raters):
        plan = make_plan(3, ["cats"] * images, ["real", "better"], 1000 * seed + rater)
        trials = []
        for question, check, image, left, right in plan:
            added = (of_rater[rater] + of_image[image])[int(question == "better")]
            strength = [*(PLANTED[question] + added), -50, 0]  # broken and truth are -2 and -1
            chance = expit(strength[left] - strength[right])
            side = "left" if random.random() < chance else "right"
            names = [*SYSTEMS, "broken", "truth"]
            trials.append(_trial(question, names[left], names[right], side, str(image), check))
        people.append(_person(str(rater), trials))
    return Answers(people, [], [], SYSTEMS)


def _trial(question, left, right, answer, image="0", check=False):
    return Trial(**answered(question, left, right, answer, check=check) | {"image": image})


def _person(name, trials):
    return Participant(participant=name, page="x", file=Path("x"), systems=SYSTEMS, trials=trials)


def test_intervals_widen_where_raters_differ():
    widths = []
    for spread in (0, 2):
        answers = _study(3, raters=12, images=60, spread=spread)
        shown = rates(answers.rated, SYSTEMS, 0)["better"], strengths(answers.rated, SYSTEMS)
        widths.append([sum(each.high - each.low for each in of.values()) for of in shown])
    assert np.all(np.divide(widths[1], widths[0]) > 1.3)


def test_intervals_depend_on_the_seed_only():
    answers = _study(0, raters=4, images=6)
    one, again, other = (rates(answers.rated, SYSTEMS, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert strengths(answers.rated, SYSTEMS, 1) == strengths(answers.rated, SYSTEMS, 1)


def test_equal_answers_still_have_an_interval():
    trials = [_trial("better", "unet", "gan", "left", str(i)) for i in range(8)]
    answers = Answers([_person(str(i), trials) for i in range(3)], [], [], SYSTEMS)
    rate = rates(answers.rated, SYSTEMS, 0)["better"]["unet"]
    assert (rate.value, rate.high) == (1, 1)
    assert rate.low == pytest.approx(0.862, abs=1e-3)  # Wilson's of 24 of 24
    strength = strengths(answers.rated, SYSTEMS)
    assert [*strength] == ["gan", "unet"]  # cnn was never shown
    assert strength["gan"].value == pytest.approx(-strength["unet"].value)
    assert 1 < strength["unet"].value < 4
    assert 1.5 < strength["unet"].high - strength["unet"].low < 10
    assert strengths([], SYSTEMS) == {}


def test_a_sample_draws_raters_and_images():
    rated = [
        (rater, _trial("real", "cnn", "truth", "left", i)) for rater, i in ("ax", "ay", "bx", "cy")
    ]
    weights = resampled_sums(rated, np.eye(4), seed=0)
    assert weights.mean(axis=0) == pytest.approx(np.ones(4), abs=0.15)
    # Products of how often each of three raters and each of two images is drawn.
    assert weights.var(axis=0) == pytest.approx(np.full(4, (5 / 3) * (3 / 2) - 1), abs=0.3)
    # Both images of a rater: drawn together as often as the rater, and twice in all.
    assert set((weights[:, 0] + weights[:, 1]) / 2) == {0, 1, 2, 3}
    again = resampled_sums(rated[::-1], np.eye(4), seed=0)
    assert (again[:, ::-1] == weights).all()
    assert (resampled_sums(rated[:1] * 2, np.eye(2), seed=0) == 1).all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 60), min_size=12, max_size=12), st.booleans())
def test_strengths_maximize_the_posterior(counts, separated):
    wins = np.zeros((4, 4))
    wins[~np.eye(4, dtype=bool)] = counts
    if separated:  # the first system always wins
        wins[1:, 0] = 0

    def loss(theta):
        one = sum(
            wins[i, j] * np.logaddexp(0, theta[j] - theta[i])
            + wins[j, i] * np.logaddexp(0, theta[i] - theta[j])
            for i, j in combinations(range(4), 2)
        )
        return one + PRIOR * (np.logaddexp(0, theta) + np.logaddexp(0, -theta)).sum()

    expected = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7}).x
    assert fit(wins) == pytest.approx(expected - expected.mean(), abs=1e-3)
    assert fit(np.stack([wins, wins.T]))[0] == pytest.approx(fit(wins), abs=1e-9)
