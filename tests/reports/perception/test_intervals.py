"""Intervals of rates and strengths, against independent computations."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lightning_colorize.reports.perception.answers import Trial
from lightning_colorize.reports.perception.score import PRIOR, fit, rates, resampled_sums, strengths
from tests.reports.perception.simulated import SYSTEMS, answered


def _trial(question, left, right, answer, image):
    return Trial(**answered(question, left, right, answer) | {"image": image})


def test_raters_who_differ_widen_the_intervals():
    """As many answers for each side, by raters of two opinions or by all raters in turn."""
    widths = []
    for in_turn in (0, 1):
        rated = [
            (str(rater), _trial("better", "unet", "gan", side, str(image)))
            for rater in range(6)
            for image in range(10)
            for side in [("left", "right")[(rater + in_turn * image) % 2]]
        ]
        rate, again = (rates(rated, SYSTEMS, seed=1)["better"]["unet"] for _ in range(2))
        assert rate == again
        widths.append([e.high - e.low for e in (rate, strengths(rated, SYSTEMS)["unet"])])
    assert np.all(np.divide(*widths) > 1.5)


def test_equal_answers_still_have_an_interval():
    trials = [_trial("better", "unet", "gan", "left", str(i)) for i in range(8)]
    rated = [(rater, trial) for rater in "abc" for trial in trials]
    rate = rates(rated, SYSTEMS, 0)["better"]["unet"]
    assert (rate.value, rate.high) == (1, 1)
    assert rate.low == pytest.approx(0.862, abs=1e-3)  # Wilson's of 24 of 24
    strength = strengths(rated, SYSTEMS)
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
