import re
import time

import pytest
from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_colorize.common.progress import progress


def test_off_a_terminal_there_is_a_line_now_and_then(capsys, monkeypatch):
    now = iter([0.0, 10.0, 31.0, 40.0, 62.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    assert list(progress("abcd", 4, "colouring")) == list("abcd")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "colouring: 2/4, 0.0645/s, 0:00:31 left",
        "colouring: 4/4, 0.0645/s, 0:00:00 left",
    ]


def test_on_a_terminal_there_is_a_bar_which_knows_no_color(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(progress(range(3), 3, "colouring")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "colouring" in shown
    assert "\x1b[38" in shown or "\x1b[3" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    assert list(progress(range(3), 3, "colouring")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "colouring" in shown
    assert "\x1b[3" not in shown


def test_a_bar_says_how_many_are_done_per_second(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    for _ in progress(range(30), 30, "looking"):
        time.sleep(0.02)
    rates = [int(rate) for rate in re.findall(r"(\d+)/s", capsys.readouterr().err)]
    assert rates
    assert 5 <= rates[-1] <= 100  # asleep for 20 ms each


def test_few_items_have_no_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    list(progress(range(3), 3, "reading", bar_from=4))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("forced", ["", "1"])
def test_only_the_first_process_tells(capsys, monkeypatch, forced):
    monkeypatch.setenv("FORCE_COLOR", forced)
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    assert list(progress(range(3), 3, "reading", seconds=0.0)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
