from pathlib import Path

import pytest

from lightning_colorize.search.status import TrialRow
from lightning_colorize.search.time_left import seconds_left


def rows(*states):
    """Return rows of states with their seconds: `("finished", 10)`."""
    return [
        TrialRow(number, state, {}, None, None, None, Path("folder"), seconds, [])
        for number, (state, seconds) in enumerate(states)
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
        # Longer than the others: it may end at any moment.
        ([("running", 99)] * 5, 5, 0),
        # 3 s of one that goes on from its checkpoint, and four more.
        ([("waiting", 7)], 1, 43),
        ([("waiting", None)], 1, 50),
        # On other machines there are more workers than here.
        ([("running", 0)] * 5, 1, 10),
    ],
)
def test_those_to_come_take_as_long_as_those_that_have_ended(sweep, others, workers, left):
    assert seconds_left(rows(*DONE, *others), sweep(8), workers) == pytest.approx(left)


def test_all_have_ended(sweep):
    assert seconds_left(rows(*DONE), sweep(3), 2) == 0


def test_what_cannot_be_known(sweep):
    assert seconds_left(rows(*DONE), sweep(None), 2) is None
    assert seconds_left(rows(("running", 5)), sweep(3), 2) is None
    assert seconds_left([], sweep(3), 2) is None


def test_a_grid_has_an_end(engine):
    grid = engine.sweep({"x": [1, 2], "y": [1, 2]})
    assert seconds_left(rows(*DONE), grid, 1) == pytest.approx(10)
