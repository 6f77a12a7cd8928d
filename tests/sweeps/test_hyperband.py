"""Early termination by hand; test_against_sweeps.py holds it against W&B's own."""

import pytest

from lightning_colorize.sweeps.hyperband import (
    Hyperband,
    RungResult,
    bands_from_max,
    bands_from_min,
    rung_result,
)

LENIENT = Hyperband(type="hyperband", min_iter=2, eta=2, strict=False)
STRICT = Hyperband(type="hyperband", min_iter=2, eta=2)
OTHERS = [[10, 10], [10, 30, 40, 50], [10, 20, 20]]


def test_bands():
    assert bands_from_min(1, 3)[:5] == (1, 3, 9, 27, 81)
    assert bands_from_min(2, 1.5)[:5] == (2, 3, 4, 6, 10)
    assert bands_from_min(1, 1.01) == (1, 2)
    assert bands_from_max(27, 2, 3) == (3, 9)
    assert bands_from_max(27, 9, 3) == (1, 3, 9)
    assert bands_from_max(2, 1, 3) == ()


def test_before_the_first_band_nobody_is_judged():
    assert rung_result([0.0], OTHERS, "maximize", LENIENT) is None


@pytest.mark.parametrize(
    ("history", "rule", "judged"),
    [
        # Of 10, 19, 20, 30 the best half is 30, 20; W&B lets the next one through as well.
        ([5, 19], LENIENT, RungResult(2, 19, 19, False)),
        ([5, 9], LENIENT, RungResult(2, 9, 10, True)),
        # The best so far, or what was there at the band.
        ([10, 9, 20], LENIENT, RungResult(2, 20, 10, False)),
        ([10, 9, 20], STRICT, RungResult(2, 9, 10, True)),
        # At the fourth value there are 50 and this run's.
        ([10, 30, 40, 45], LENIENT, RungResult(4, 45, 45, False)),
        # What is not finite has not been logged.
        ([float("nan"), 5, float("inf")], LENIENT, None),
        ([float("nan"), 5, 9], LENIENT, RungResult(2, 9, 10, True)),
    ],
)
def test_by_hand(history, rule, judged):
    assert rung_result(history, OTHERS, "maximize", rule) == judged
    mirrored = [[-value for value in other] for other in OTHERS]
    down = rung_result([-value for value in history], mirrored, "minimize", rule)
    assert (down and down.behind) == (judged and judged.behind)


def test_a_single_run_continues():
    assert not rung_result([1, 1, 1, 1], [], "minimize", STRICT).behind
