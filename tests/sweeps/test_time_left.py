from dataclasses import replace
from pathlib import Path

import pytest

from lightning_colorize.sweeps.status import TrialRow, seconds_left


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
