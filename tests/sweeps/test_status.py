"""The leaderboard, its baselines, labels, and the table on a terminal and off it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lightning_colorize.reports.sweep import write_report
from lightning_colorize.sweeps.export import export_winner
from lightning_colorize.sweeps.labels import Labels
from lightning_colorize.sweeps.spec import SweepMetric
from lightning_colorize.sweeps.status import (
    ProgressLines,
    TrialRow,
    format_value,
    leaderboard,
    not_beaten,
    print_table,
    read_baselines,
    seconds_left,
)
from lightning_colorize.sweeps.status import rows as all_rows
from lightning_colorize.sweeps.study import retry
from tests.sweeps.conftest import ends, run_trials, validates


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
    assert leaderboard(unranked, goal) == []


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
    assert third.value == 22.5
    (single,) = leaderboard(seeds(0, [22.0], x=1), "max")
    assert (single.values, single.low) == ({"x": 1, "seed_everything": 0}, None)


def test_seeds_that_are_missing_are_counted():
    rows = [
        *seeds(0, [10.0], x=1),
        a_row(1, None, "failed", x=1, seed_everything=1),
        a_row(2, 7.0, "pruned", x=1, seed_everything=2),
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
WAITS = ("waiting", None)


@pytest.mark.parametrize(
    ("others", "workers", "left"),
    [
        ([WAITS] * 5, 1, 50),  # one after the other
        ([WAITS] * 5, 2, 25),
        ([WAITS] * 5, 9, 10),
        # 6 and 7 s left of those that run, and three more.
        ([("running", 4), ("running", 3), *[WAITS] * 3], 2, (6 + 7 + 30) / 2),
        # All have exceeded the mean: they may end now.
        ([("running", 14)] * 5, 5, 0),
        # 3 s of one that resumes from its checkpoint.
        ([("waiting", 7)], 1, 3),
        # On other machines there are more workers than here.
        ([("running", 0)] * 5, 1, 10),
        ([], 2, 0),
    ],
)
def test_the_time_left(engine, others, workers, left):
    sweep = engine.sweep(UNIFORM, method="random", run_cap=8)
    assert seconds_left(rows(*DONE, *others), sweep, workers) == pytest.approx(left)


def test_the_time_left_may_be_unknown(engine):
    endless, three = (engine.sweep(UNIFORM, method="random", run_cap=cap) for cap in (None, 3))
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
    ("value", "expected"),
    [(None, "-"), (23.1, "23.10"), (0.94567, "0.9457"), (1234.2, "1234"), (-0.5, "-0.5000")],
)
def test_numbers(value, expected):
    assert format_value(value) == expected


ENCODERS = ["experiments/encoder/resnet18.yaml", "experiments/encoder/unet.yaml"]


@pytest.fixture
def study(engine):
    return engine.study({"model.encoder": ENCODERS, "model.x": [1, 2, 3], "data.size": 64})


def printed(capsys, name="out"):
    """Return the lines printed, without padding."""
    text = re.sub(r"about \S+ left, ", "", getattr(capsys.readouterr(), name))
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_line_when_a_trial_ends(study, capsys):
    run_trials(study, 20.0)
    lines = ProgressLines(study, 1)

    def tick():
        lines._next_update = 0
        lines.tick()

    tick()
    assert printed(capsys, "err") == []  # ended before
    run_trials(study, 19.0, 23.125)
    tick()
    run_trials(study, TrialState.PRUNED, history=[18.0])
    tick()
    tick()
    run_trials(study, "exit code 1: boom [all]", None)
    tick()
    assert printed(capsys, "err") == [
        "trial 1 finished: val/psnr 19.00, 0:00:01; encoder=resnet18, x=2",
        "trial 2 finished: val/psnr 23.12, 0:00:01; encoder=resnet18, x=3",
        "trial 3 pruned: val/psnr 18.00, 0:00:01; encoder=unet, x=1",
        "trial 4 failed: exit code 1: boom [all], 0:00:01; encoder=unet, x=2",
    ]
    lines._clock.seconds = 0.0  # not 30
    tick()
    assert printed(capsys, "err") == [
        "5 of 6 trials ended, 1 pruned, 1 failed, 1 running, best val/psnr 23.12 (trial 2)"
    ]


def test_status_has_all_trials_and_the_baselines_of_the_best(study, capsys):
    lut = {"val/psnr": 22.5, "val/ssim": 0.5}
    run_trials(study, 21.0, baselines={"lut": {"val/psnr": 99.0}})
    best = {"grey": {"val/psnr": 20.0}, "mean": {}, "lut": lut}
    run_trials(study, 22.0, history=[21.0, 22.0], baselines=best, validation_images=13)
    run_trials(study, None, history=[17.0, 21.5, 21.25])
    print_table(study)
    assert [line for line in printed(capsys) if "─" not in line and line] == [
        "tiny: 2 of 6 trials ended, 1 running, best val/psnr 22.00 (trial 1)",
        "trial state encoder x epoch val/psnr time",
        "0 finished resnet18 1 - 21.00 0:00:01",
        "1 finished resnet18 2 2 22.00 0:00:01",
        "2 running resnet18 3 3 21.50 0:00:01",
        *(f"{number} waiting unet {number - 2} - - -" for number in (3, 4, 5)),
        "baseline grey: val/psnr 20.00",
        "baseline lut: val/psnr 22.50",
        "ranked on 13 validation images; small differences may be chance",
        "the best trial does not beat lut: val/psnr 22.00, lut 22.50",
    ]


def test_restarts_are_shown_and_printed(study, capsys):
    lines = ProgressLines(study, 1)
    run_trials(study, None, 21.0)
    for why in ("its worker was killed", "killed by SIGKILL, retried 1 of 3"):
        retry(study.optuna, study.trials()[0], why)
    lines.tick()
    assert printed(capsys, "err")[:2] == [
        "trial 0 is queued again: its worker was killed",
        "trial 0 is queued again: killed by SIGKILL, retried 1 of 3",
    ]
    study.folder_of(0).mkdir()
    validates(21.5, 21.25)(study.folder_of(0))
    print_table(study)
    lines = printed(capsys)
    assert "0 waiting resnet18 1 - 21.50 0:00:01 2: killed by SIGKILL, retried 1 of 3" in lines
    assert "1 finished resnet18 2 - 21.00 0:00:01" in lines


def test_status_ranks_as_the_report_and_the_winner_do(engine, capsys):
    """By the mean over seeds; the best single trial is of another configuration."""
    study = engine.study({"x": [1, 2], "seed_everything": [1, 2]})
    values = {(1, 1): 22.0, (1, 2): 20.0, (2, 1): 21.4, (2, 2): 21.5}
    for row in all_rows(study):
        run_trials(study, values[row.values["x"], row.values["seed_everything"]])
    first = leaderboard(all_rows(study), "max")[0].trials
    print_table(study)
    numbers = ", ".join(str(row.number) for row in first)
    assert printed(capsys)[0].endswith(f"best val/psnr 21.45 (mean of trials {numbers})")
    first[0].folder.mkdir()
    (first[0].folder / "config.yaml").write_text("a: 1\n")
    head = export_winner(study).read_text().splitlines()[0]
    assert head.endswith("val/psnr 21.50, the best of 2 seeds, whose mean 21.45 wins")


def test_trials_of_different_code_are_reported(study, capsys):
    run_trials(study, 21.0, git_commit="a" * 40)
    print_table(study)
    assert "git_commit" not in capsys.readouterr().out
    run_trials(study, 21.0, git_commit="b" * 40)
    run_trials(study, 21.0, git_commit="a" * 40)
    print_table(study)
    message = (
        "trials ran different code and may not compare (git_commit: trials): "
        "aaaaaaaa: 0, 2; bbbbbbbb: 1"
    )
    assert printed(capsys)[-1] == message
    assert f"T{message[1:]}" in write_report(study, 0).read_text()


def test_status_compares_no_clocks(engine, capsys, monkeypatch):
    """A running trial's time is as its worker measured it, on a machine with another clock."""
    study = engine.study({"x": 1})
    run_trials(study, None)
    monkeypatch.setattr("time.time", lambda: 0.0)
    trial = study.trials()[0]
    trial.datetime_start = trial.datetime_start.replace(year=1999)
    print_table(study)
    assert "0 running - - 0:00:01" in printed(capsys)


def test_a_sweep_without_metric_or_trials(engine, capsys):
    study = engine.study({"x": [1, 2]}, metric=None)
    print_table(study)
    assert "0 waiting 1 - - -" in printed(capsys)
    run_trials(study, 0.0)
    print_table(study)
    assert "0 finished 1 - - 0:00:01" in printed(capsys)
