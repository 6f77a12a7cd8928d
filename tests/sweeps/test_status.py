"""The leaderboard, its baselines, and the time that a sweep still takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_colorize.sweeps.spec import Metric
from lightning_colorize.sweeps.status import (
    EXPLAINED,
    TrialRow,
    leaderboard,
    not_beaten,
    read_baselines,
    seconds_left,
    winner,
)


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


PSNR = Metric(name="val/psnr", goal="maximize")
ERROR = Metric(name="val/ciede2000", goal="minimize")
ROW = TrialRow(0, "finished", {"x": 1}, 22.0, 0, None, Path("folder"), 1.0, [])


def place(*rows, goal="maximize"):
    return leaderboard(rows, goal)[0]


def written(folder, result):
    text = result if isinstance(result, str) else json.dumps(result)
    (folder / "result.json").write_text(text)
    return place(replace(ROW, folder=folder))


def test_baselines_are_those_of_the_metric(tmp_path):
    of = {"grey": {"val/psnr": 20.0, "test/psnr": 21.0}, "lut": {"val/psnr": 22.5}}
    first = written(tmp_path, {"status": "finished", "baselines": of})
    assert read_baselines(first, PSNR) == {"grey": 20.0, "lut": 22.5}
    assert read_baselines(first, Metric(name="test/psnr", goal="maximize")) == {"grey": 21.0}
    assert read_baselines(first, Metric(name="val/loss", goal="minimize")) == {}


@pytest.mark.parametrize(
    "result",
    [
        {"status": "finished"},
        {"status": "finished", "baselines": {"grey": None}},
        {"status": "finished", "baselines": {"grey": {"val/psnr": None}}},
        "no JSON",
    ],
)
def test_a_run_without_baselines(tmp_path, result):
    assert read_baselines(written(tmp_path, result), PSNR) == {}


def test_a_missing_folder(tmp_path):
    assert read_baselines(place(replace(ROW, folder=tmp_path / "none")), PSNR) == {}


@pytest.mark.parametrize(
    ("metric", "baselines", "said"),
    [
        (PSNR, {}, None),
        (PSNR, {"grey": 20.0, "lut": 21.9}, None),
        (PSNR, {"grey": 22.5, "lut": 21.9}, "grey: val/psnr 22.00, grey 22.50"),
        # As good is not better.
        (PSNR, {"grey": 22.0}, "grey: val/psnr 22.00, grey 22.00"),
        (ERROR, {"grey": 23.0, "lut": 22.5}, None),
        (ERROR, {"grey": 23.0, "lut": 21.0}, "lut: val/ciede2000 22.00, lut 21.00"),
    ],
)
def test_the_best_is_to_beat_the_best_of_them(metric, baselines, said):
    first = place(ROW, goal=metric.goal)
    expected = said and f"the best trial does not beat {said}"
    assert not_beaten(first, metric, baselines) == expected


def test_over_seeds_it_is_the_mean_that_counts():
    rows = [
        replace(ROW, number=seed, value=value, values={"x": 1, "seed_everything": seed})
        for seed, value in enumerate([22.0, 24.0])
    ]
    said = not_beaten(place(*rows), PSNR, {"lut": 23.5})
    assert said == "the best configuration does not beat lut: val/psnr 23.00, lut 23.50"


def test_all_baselines_are_explained():
    from lightning_colorize.metrics import BASELINES

    assert list(EXPLAINED) == list(BASELINES)


def rows(*states):
    """Return rows of states with their seconds and validations: `("finished", 10, 3)`."""
    return [
        TrialRow(number, state, {}, None, None, None, Path("folder"), seconds, [1.0] * sum(more))
        for number, (state, seconds, *more) in enumerate(states)
    ]


@pytest.fixture
def sweep(engine):
    def of(cap, **changes):
        x = {"min": 0.0, "max": 1.0}
        return engine.sweep({"x": x}, method="random", run_cap=cap, **changes)

    return of


DONE = (("finished", 8), ("pruned", 10), ("failed", 12))


@pytest.mark.parametrize(
    ("others", "workers", "left"),
    [
        ([], 1, 50),  # five more, one after the other
        ([], 2, 30),
        ([], 9, 10),
        # 6 and 7 s left of those that run, then three more: 6 + 10, 7 + 10, 16 + 10.
        ([("running", 4), ("running", 3)], 2, 26),
        # Later than the others, all of them: as late again.
        ([("running", 14)] * 5, 5, 4),
        # 3 s of one that goes on from its checkpoint, and four more.
        ([("waiting", 7)], 1, 43),
        ([("waiting", None)], 1, 50),
        # On other machines there are more workers than here.
        ([("running", 0)] * 5, 1, 10),
    ],
)
def test_those_to_come_take_as_long_as_those_that_have_ended(sweep, others, workers, left):
    assert seconds_left(rows(*DONE, *others), sweep(8), workers) == pytest.approx(left)


@pytest.mark.parametrize(
    ("seconds", "validations", "left"),
    [
        # Others took 30 s for 4 validations. This one is between its first and its second, say
        # at 1.5; there are 3.5 to go to 5, the last one being the test or what else follows.
        (30, 1, 30 * 3.5 / 1.5),
        (60, 2, 60 * 2.5 / 2.5),
        # It is tested, or goes on for longer than they did.
        (90, 4, 90 * 0.5 / 4.5),
        (90, 9, 90 * 0.5 / 9.5),
    ],
)
def test_a_slower_trial_takes_longer_by_its_own_validations(sweep, seconds, validations, left):
    quick = [("finished", 30, 4)] * 2
    slow = rows(*quick, ("running", seconds, validations))
    assert seconds_left(slow, sweep(3), 2) == pytest.approx(left)
    # Those that were stopped early have fewer.
    stopped = rows(*quick, ("pruned", 30, 1), ("running", seconds, validations))
    assert seconds_left(stopped, sweep(4), 2) == pytest.approx(left)


def test_where_the_metric_is_no_validations_epochs_are_counted(sweep):
    quick, slow = rows(("finished", 30), ("running", 60))
    table = [replace(quick, epoch=3), replace(slow, epoch=1)]
    assert seconds_left(table, sweep(2), 2) == pytest.approx(60)


def test_all_have_ended(sweep):
    assert seconds_left(rows(*DONE), sweep(3), 2) == 0


def test_what_cannot_be_known(sweep):
    assert seconds_left(rows(*DONE), sweep(None), 2) is None
    assert seconds_left(rows(("running", 5)), sweep(3), 2) is None
    assert seconds_left([], sweep(3), 2) is None


def test_a_grid_has_an_end(engine):
    grid = engine.sweep({"x": [1, 2], "y": [1, 2]})
    assert seconds_left(rows(*DONE), grid, 1) == pytest.approx(10)
