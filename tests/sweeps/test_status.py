"""The leaderboard, its baselines, the time that a sweep still takes, and labels."""

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_colorize.sweeps.spec import SweepMetric
from lightning_colorize.sweeps.status import (
    Labels,
    TrialRow,
    format_value,
    leaderboard,
    not_beaten,
    read_baselines,
    seconds_left,
    winner,
)
from tests.sweeps.conftest import ends


def a_row(number, value, state="finished", **values):
    return TrialRow(number, state, values, value, 0, None, Path("folder"), 1.0, [])


def seeds(number, values, **others):
    return [
        a_row(number + seed, value, seed_everything=seed, **others)
        for seed, value in enumerate(values)
    ]


def numbers(entries):
    return [[row.number for row in entry.trials] for entry in entries]


@pytest.mark.parametrize(("goal", "order"), [("max", [[1], [0], [2]]), ("min", [[2], [0], [1]])])
def test_finished_trials_are_in_the_order_of_the_goal(goal, order):
    others = ("failed", "pruned", "running", "waiting")
    unranked = [a_row(3, None, x=0), *(a_row(4, 9.0, state, x=state) for state in others)]
    rows = [a_row(0, 2.0, x=1), a_row(1, 3.0, x=2), a_row(2, 1.0, x=3), *unranked]
    assert numbers(leaderboard(rows, goal)) == order
    assert winner(rows, goal).number == order[0][0]
    assert (leaderboard(unranked, goal), winner(unranked, goal)) == ([], None)


def test_trials_that_differ_only_in_their_seed_are_one_entry():
    rows = [*seeds(0, [22.0, 24.0, 23.0], x=1), *seeds(3, [25.0, 20.0], x=2), a_row(5, 22.8, x=3)]
    first, second, third = leaderboard(rows, "max")
    assert numbers([first, second, third]) == [[1, 2, 0], [5], [3, 4]]
    assert first.values == {"x": 1}
    assert first.value == 23
    assert first.spread == pytest.approx(1)
    # Student's t for 2 degrees of freedom, from a printed table, by the root of 3.
    assert first.high - 23 == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert 23 - first.low == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert (second.spread, second.low, second.high) == (None, None, None)
    # The best single trial is of the last.
    assert winner(rows, "max").number == 1
    assert third.value == 22.5
    (single,) = leaderboard(seeds(0, [22.0], x=1), "max")
    assert (single.values, single.low) == ({"x": 1, "seed_everything": 0}, None)


def test_a_repeated_seed_counts_once():
    rows = [*seeds(0, [22.0, 24.0], x=1), a_row(2, 99.0, x=1, seed_everything=0)]
    (entry,) = leaderboard(rows, "max")
    assert entry.value == 23
    assert [row.number for row in entry.repeats] == [2]
    (alone,) = leaderboard([a_row(0, 1.0, x=1), a_row(1, 2.0, x=1)], "max")
    assert (alone.value, alone.spread) == (1.0, None)
    # For a command line, 1 and true differ.
    assert len(leaderboard([a_row(0, 1.0, x=1), a_row(1, 2.0, x=True)], "max")) == 2


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
    first, second = leaderboard(rows, "max")
    assert numbers([first, second]) == [[0], [5, 6]]
    assert [row.number for row in first.missing] == [1, 2]
    assert second.missing == []


UNIFORM = {"x": {"min": 0.0, "max": 1.0}}
PSNR = SweepMetric(name="val/psnr", goal="maximize")
ERROR = SweepMetric(name="val/ciede2000", goal="minimize")
ROW = a_row(0, 22.0, x=1)


def entry(*rows, goal="max"):
    return leaderboard(rows, goal)[0]


def test_baselines_of_the_metric(tmp_path):
    first = entry(replace(ROW, folder=tmp_path))
    baselines = {"grey": {"val/psnr": 20.0, "test/psnr": 21.0}, "lut": {"val/psnr": 22.5}}
    ends("finished", baselines=baselines)(tmp_path)
    assert read_baselines(first, PSNR) == {"grey": 20.0, "lut": 22.5}
    assert read_baselines(first, SweepMetric(name="test/psnr", goal="maximize")) == {"grey": 21.0}
    assert read_baselines(first, ERROR) == {}
    (tmp_path / "result.json").write_text("no JSON")
    assert read_baselines(first, PSNR) == {}


@pytest.mark.parametrize(
    ("metric", "baselines", "message"),
    [
        (PSNR, {}, None),
        (PSNR, {"grey": 20.0, "lut": 21.9}, None),
        (PSNR, {"grey": 22.5, "lut": 21.9}, "grey: val/psnr 22.00, grey 22.50"),
        # A tie is not better.
        (PSNR, {"grey": 22.0}, "grey: val/psnr 22.00, grey 22.00"),
        (ERROR, {"grey": 23.0, "lut": 22.5}, None),
        (ERROR, {"grey": 23.0, "lut": 21.0}, "lut: val/ciede2000 22.00, lut 21.00"),
    ],
)
def test_not_beaten_names_the_best_baseline(metric, baselines, message):
    expected = message and f"the best trial does not beat {message}"
    assert not_beaten(entry(ROW, goal=metric.mode), metric, baselines) == expected


def test_baselines_are_compared_with_the_mean_over_seeds():
    message = not_beaten(entry(*seeds(0, [22.0, 24.0], x=1)), PSNR, {"lut": 23.5})
    assert message == "the best configuration does not beat lut: val/psnr 23.00, lut 23.50"


def rows(*states):
    """Return rows of states with their seconds: `("finished", 10)`."""
    return [replace(a_row(n, None, state), seconds=s) for n, (state, s) in enumerate(states)]


# Those that did not fail took 10 s on average.
DONE = (("finished", 8), ("pruned", 12), ("failed", 1))


@pytest.mark.parametrize(
    ("others", "workers", "left"),
    [
        ([], 1, 50),  # five more, one after the other
        ([], 2, 25),
        ([], 9, 10),
        # 6 and 7 s left of those that run, and three more.
        ([("running", 4), ("running", 3)], 2, (6 + 7 + 30) / 2),
        # All have exceeded the mean: they may end now.
        ([("running", 14)] * 5, 5, 0),
        # 3 s of one that resumes from its checkpoint, and four more.
        ([("waiting", 7)], 1, 43),
        ([("waiting", None)], 1, 50),
        # On other machines there are more workers than here.
        ([("running", 0)] * 5, 1, 10),
    ],
)
def test_the_time_left(engine, others, workers, left):
    sweep = engine.sweep(UNIFORM, method="random", run_cap=8)
    assert seconds_left(rows(*DONE, *others), sweep, workers) == pytest.approx(left)


def test_the_time_left_is_zero_or_unknown(engine):
    endless, three = (engine.sweep(UNIFORM, method="random", run_cap=cap) for cap in (None, 3))
    assert seconds_left(rows(*DONE), three, 2) == 0
    assert seconds_left(rows(*DONE), endless, 2) is None
    assert seconds_left(rows(("failed", 1), ("running", 5)), three, 2) is None


def test_only_varied_parameters_are_labeled(engine):
    choices = {
        "model.encoder": ["experiments/encoder/unet.yaml", "experiments/encoder/vgg16.yaml"],
        "model.lr": [1e-4, 0.0012345],
        "model.skip": [True, None],
        "data.size": [64],
        "data.crop": [[0.5, 1]],
    }
    labels = Labels(engine.sweep(choices))
    last = {name: values[-1] for name, values in choices.items()}
    assert labels.changes(last) == "encoder=vgg16, lr=0.001234, skip=null"
    assert labels.changes({}) == ""


def test_constants_count_for_names_and_long_ranges_are_no_constants(engine):
    labels = Labels(engine.sweep({"generator.lr": 0.1, "discriminator.lr": [1, 2]}))
    assert labels.names == {"discriminator.lr": "discriminator.lr"}
    long = {"min": 0, "max": 10**20}
    assert Labels(engine.sweep({"x": long}, method="random", run_cap=1)).names == {"x": "x"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a/x.yaml", "b/x.yaml"], ["a/x.yaml", "b/x.yaml"]),
        ([True, None, 1], ["true", "null", "1"]),
        ([1, "one", True, "true"], ["1", '"one"', "true", '"true"']),
        ([0.12341, 0.12342], ["0.12341", "0.12342"]),
        ([[0.5, 0.9], [0.9, 0.999]], ["[0.5, 0.9]", "[0.9, 0.999]"]),
    ],
)
def test_different_values_have_different_labels(engine, values, expected):
    labels = Labels(engine.sweep({"x": {"values": values}}))
    assert [labels.value("x", value) for value in values] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (23.1, "23.10"), (0.94567, "0.9457"), (1234.2, "1234"), (-0.5, "-0.5000")],
)
def test_numbers(value, expected):
    assert format_value(value) == expected
