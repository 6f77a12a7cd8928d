from pathlib import Path

import pytest

from lightning_colorize.sweeps.status import TrialRow, leaderboard, winner


def a_row(number, value, state="finished", **values):
    return TrialRow(number, state, values, value, 0, None, Path("folder"), 1.0, [])


def seeds(number, values, **others):
    return [
        a_row(number + seed, value, seed_everything=seed, **others)
        for seed, value in enumerate(values)
    ]


def numbers(places):
    return [[row.number for row in place.trials] for place in places]


@pytest.mark.parametrize(
    ("goal", "order"), [("maximize", [[1], [0], [2]]), ("minimize", [[2], [0], [1]])]
)
def test_the_goal_is_the_order(goal, order):
    rows = [a_row(0, 2.0, x=1), a_row(1, 3.0, x=2), a_row(2, 1.0, x=3)]
    assert numbers(leaderboard(rows, goal)) == order
    assert winner(rows, goal).number == order[0][0]


@pytest.mark.parametrize("state", ["failed", "pruned", "running", "waiting"])
def test_only_finished_trials_are_ranked(state):
    rows = [a_row(0, 1.0, x=1), a_row(1, 9.0, state, x=2), a_row(2, None, x=3)]
    assert numbers(leaderboard(rows, "maximize")) == [[0]]
    assert leaderboard(rows[1:], "maximize") == []
    assert winner(rows[1:], "maximize") is None


def test_trials_that_differ_only_in_their_seed_are_one_place():
    rows = [*seeds(0, [22.0, 24.0, 23.0], x=1), *seeds(3, [25.0, 20.0], x=2), a_row(5, 22.8, x=3)]
    first, second, third = leaderboard(rows, "maximize")
    assert numbers([first, second, third]) == [[1, 2, 0], [5], [3, 4]]
    assert first.values == {"x": 1}
    assert first.value == 23
    assert first.spread == pytest.approx(1)
    # Student's t for 2 degrees of freedom, from a printed table, by the root of 3.
    assert first.high - 23 == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert 23 - first.low == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert (second.spread, second.low, second.high) == (None, None, None)
    # The best single trial is of the last.
    assert winner(rows, "maximize").number == 1
    assert third.value == 22.5


def test_one_seed_is_no_group():
    (place,) = leaderboard(seeds(0, [22.0], x=1), "maximize")
    assert place.values == {"x": 1, "seed_everything": 0}
    assert place.low is None


def test_a_repetition_is_no_further_seed():
    rows = [*seeds(0, [22.0, 24.0], x=1), a_row(2, 99.0, x=1, seed_everything=0)]
    (place,) = leaderboard(rows, "maximize")
    assert place.value == 23
    assert [row.number for row in place.repeats] == [2]
    (alone,) = leaderboard([a_row(0, 1.0, x=1), a_row(1, 2.0, x=1)], "maximize")
    assert (alone.value, alone.spread) == (1.0, None)


def test_seeds_that_are_missing_are_counted():
    rows = [
        *seeds(0, [10.0], x=1),
        a_row(1, None, "failed", x=1, seed_everything=1),
        a_row(2, 7.0, "pruned", x=1, seed_everything=2),
        a_row(3, None, "failed", x=1, seed_everything=0),  # which another trial has
        a_row(4, None, "running", x=1, seed_everything=4),
        *seeds(5, [9.0, 9.0], x=2),
        a_row(8, None, "failed", x=3, seed_everything=0),
    ]
    first, second = leaderboard(rows, "maximize")
    assert numbers([first, second]) == [[0], [5, 6]]
    assert [row.number for row in first.missing] == [1, 2]
    assert second.missing == []


def test_one_and_true_are_two_configurations():
    assert len(leaderboard([a_row(0, 1.0, x=1), a_row(1, 2.0, x=True)], "maximize")) == 2
