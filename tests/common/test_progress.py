import time

import pytest
from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_colorize.common.progress import LineClock, progress


def test_lines_are_printed_off_a_terminal(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in progress("abcd", 4, "coloring"):
        now += 16.0
    assert capsys.readouterr().err.splitlines() == [
        "coloring: 2/4, 0.0625/s, 0:00:32 left",
        "coloring: 4/4, 0.0625/s, 0:00:00 left",
    ]


def test_a_bar_on_a_terminal_honors_no_color(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(progress(range(3), 3, "coloring")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "coloring" in shown
    assert "\x1b[38" in shown or "\x1b[3" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    assert list(progress(range(3), 3, "coloring")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "coloring" in shown
    assert "\x1b[3" not in shown


@pytest.mark.parametrize("forced", ["", "1"])
def test_only_the_first_process_reports(capsys, monkeypatch, forced):
    monkeypatch.setenv("FORCE_COLOR", forced)
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    monkeypatch.setattr(LineClock, "seconds", 0.0)
    assert list(progress(range(3), 3, "reading")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
