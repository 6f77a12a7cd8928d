import io
import re
import sys

import pytest
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.data.progress import reading


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_now_and_then_where_nobody_looks(capsys):
    assert list(reading(range(1200), 1200, seconds=0.0)) == list(range(1200))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "read 1 of 1,200 pictures"
    assert lines[-1] == "read 1,200 of 1,200 pictures"


def test_nothing_if_it_is_done_sooner(capsys):
    list(reading(range(1200), 1200))
    assert capsys.readouterr() == ("", "")


def test_only_the_first_process_tells(capsys, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    assert list(reading(range(3), 3, seconds=0.0)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("color", [True, False])
def test_a_bar_on_a_terminal_without_colour_on_wish(monkeypatch, color):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not color:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(reading(range(600), 600))
    shown = terminal.getvalue()
    assert "Reading pictures into memory" in shown
    assert bool(re.search(r"\x1b\[(3[0-8]|9[0-7])[;m]", shown)) == color
