"""A sweep on a terminal and off it."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from lightning_colorize.common import progress
from lightning_colorize.sweeps import table as table_module
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.table import LiveTable, print_table, table_of
from lightning_colorize.sweeps.trial import Outcome
from tests.sweeps.conftest import away, failing, run_trials

ENCODERS = ["experiments/encoder/resnet18.yaml", "experiments/encoder/unet.yaml"]


def off_terminal():
    return Console(file=io.StringIO(), width=60)


def on_terminal(width=100, height=20):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height)


def printed(console):
    """Return the lines printed, without styles, padding and the times of a busy machine."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|about \S+ left, ", "", console.file.getvalue())
    text = re.sub(r"0:00:\d\d", "0:00", text)
    return [" ".join(line.split()) for line in text.splitlines()]


def refresh(table):
    """Force an update by the next tick."""
    table._next_update = 0
    table.tick()


@pytest.fixture
def clock(monkeypatch):
    """The clock of tables, which tests set."""
    clock = SimpleNamespace(now=1000.0)
    for module in (table_module, progress):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def study(engine):
    return engine.study({"model.encoder": ENCODERS, "model.x": [1, 2, 3], "data.size": 64})


def test_a_line_when_a_trial_ends(study):
    console = off_terminal()
    run_trials(study, 20.0)
    with LiveTable(study, 1, console) as table:
        refresh(table)
        assert printed(console) == []  # ended before
        run_trials(study, 19.0)
        refresh(table)
        run_trials(study, 23.125)
        run_trials(study, Outcome("pruned", 18.0, "hyperband: behind [all]"))
        refresh(table)
        refresh(table)
        run_trials(study, Outcome("failed", reason="exit code 1: boom"))
    assert printed(console) == [
        "trial 1 finished: val/psnr 19.00, 0:00; encoder=resnet18, x=2",
        "trial 2 finished: val/psnr 23.12 (best), 0:00; encoder=resnet18, x=3",
        "trial 3 pruned: val/psnr 18.00, hyperband: behind [all], 0:00; encoder=unet, x=1",
        "trial 4 failed: exit code 1: boom, 0:00; encoder=unet, x=2",
    ]


def test_best_is_relative_to_the_trials_so_far(engine):
    study = engine.study({"x": [1, 2, 3]}, metric={"name": "val/psnr", "goal": "minimize"})
    console = off_terminal()
    with LiveTable(study, 1, console):
        for value in (20.0, 22.0, 19.0):
            run_trials(study, value)
    assert ["(best)" in line for line in printed(console)] == [True, False, True]
    print_table(study, console)
    assert "2 finished 3 - 19.00 best 0:00" in printed(console)


def test_a_line_every_30_seconds(study, clock):
    console = off_terminal()
    run_trials(study, 20.0, history=[19.0, 20.0])
    run_trials(study, None)
    with LiveTable(study, 2, console) as table:
        for _ in range(70):
            clock.now += 1
            table.tick()
    lines = printed(console)
    assert len(lines) == 2
    assert lines[0].startswith("1 of 6 trials ended, 1 running, best val/psnr 20.00 (trial 0)")


def test_updates_take_little_time(study, monkeypatch, clock):
    updates = []

    def current_rows(study):
        clock.now += 0.2
        updates.append(clock.now)
        return []

    monkeypatch.setattr(table_module, "current_rows", current_rows)
    with LiveTable(study, 1, off_terminal()) as table:
        for _ in range(100):
            clock.now += 1
            table.tick()
        assert 15 <= len(updates) <= 25


def test_a_restarting_database_is_survived(study, monkeypatch):
    console = off_terminal()
    with LiveTable(study, 1, console) as table:
        run_trials(study, 20.0)
        with monkeypatch.context() as patch:
            patch.setattr(table_module, "current_rows", failing(away())[0])
            refresh(table)
            assert printed(console) == []
            patch.setattr(table_module, "current_rows", failing(RuntimeError())[0])
            with pytest.raises(RuntimeError):
                refresh(table)
        refresh(table)
    assert "trial 0 finished" in printed(console)[0]


def test_a_table_on_a_terminal(study):
    console = on_terminal()
    run_trials(study, 20.0, history=[19.0, 20.0])
    run_trials(study, 23.0, history=[23.0])
    run_trials(study, None, history=[17.0, 21.5, 21.25])
    with LiveTable(study, 1, console):
        pass
    lines = printed(console)
    assert "tiny: 2 of 6 trials ended, 1 running, best val/psnr 23.00 (trial 1)" in lines
    assert "trial state encoder x epoch val/psnr time" in lines
    assert "0 finished resnet18 1 2 20.00 0:00" in lines
    assert "1 finished resnet18 2 1 23.00 best 0:00" in lines
    # The best value of a running trial is not marked as the best of all.
    assert "2 running resnet18 3 3 21.50 0:00" in lines


def test_the_table_fits_the_terminal(engine):
    parameters = {f"model.parameter_{name}": {"min": 0.0, "max": 1.0} for name in "abcdef"}
    study = engine.study(parameters, method="random", run_cap=100)
    for number in range(20):
        run_trials(study, float(-abs(number - 9)))
    run_trials(study, None)
    for width, height in ((100, 20), (60, 8), (200, 60)):
        table = table_of(rows(study), study.sweep, None, height)
        lines = on_terminal(width, height).render_lines(table, pad=False)
        texts = ["".join(segment.text for segment in line).rstrip() for line in lines]
        assert len(texts) < height
        # A terminal writes ^C at the end of the last line: behind a full one that is a line more.
        assert texts[-1] == ""
        assert max(map(len, texts)) <= width
        shown = [int(m[1]) for text in texts if (m := re.match(r" *(\d+) +[a-z]{5}", text))]
        left_out = [int(m[1]) for text in texts if (m := re.match(r"and (\d+) more", text))]
        assert shown == sorted(shown)
        assert 20 in shown
        assert 9 in shown or height == 8
        if height >= 20:
            # The best three, and those that ended last.
            assert {8, 9, 10, 18, 19} < set(shown)
        assert len(shown) + sum(left_out) == 21
    assert shown == list(range(21))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_hide_erases_the_live_table(study, monkeypatch, is_terminal):
    run_trials(study, 20.0)
    monkeypatch.setattr(table_module.sys.stdout, "isatty", lambda: is_terminal, raising=False)
    shown, hidden = on_terminal(), on_terminal()
    with LiveTable(study, 1, shown):
        pass
    with LiveTable(study, 1, hidden) as table:
        table.hide()
    erased = [console.file.getvalue().count("\x1b[2K") for console in (shown, hidden)]
    # The summary, the heading between an empty line and a rule, a trial, and the empty last line.
    # Where the final table goes into a file, this one stays on the terminal.
    assert erased[1] - erased[0] == (6 if is_terminal else 0)


def test_the_final_table_has_the_baselines_of_the_best_trial(study):
    lut = {"val/psnr": 22.5, "val/ssim": 0.5}
    best = {"grey": {"val/psnr": 20.0}, "mean": {"val/ssim": 1}, "lut": lut}
    run_trials(study, 21.0, baselines={"lut": {"val/psnr": 99.0}})
    run_trials(study, 22.0, baselines=best)
    console = on_terminal(80)
    print_table(study, console)
    lines = printed(console)
    table = [line for line in lines if line.startswith(("0 f", "1 f", "baseline"))]
    assert table[2:] == ["baseline grey 20.00", "baseline lut 22.50"]
    assert "the best trial does not beat lut: val/psnr 22.00, lut 22.50" in lines
    with LiveTable(study, 1, running := on_terminal(80)):
        pass
    assert "lut" not in "".join(printed(running))


def test_status_off_a_terminal_has_all_trials_in_whole_lines(engine, capsys):
    parameters = {f"model.parameter_{name}": {"min": 0.0, "max": 1.0} for name in "abcdef"}
    study = engine.study(parameters, method="random", run_cap=50)
    run_trials(study, *[1.0] * 30)
    print_table(study)
    text = capsys.readouterr().out
    line = r"^ *\d+ +finished +(?:[\d.e-]+ +){6}- +1\.000"
    assert len(re.findall(line, text, re.MULTILINE)) == 30
    assert re.search(" +".join(f"parameter_{name}" for name in "abcdef"), text)
    assert "…" not in text


def test_a_sweep_without_metric_or_trials(engine, capsys):
    study = engine.study({"x": [1, 2]}, metric=None)
    print_table(study)
    assert capsys.readouterr().out == "tiny: 0 of 2 trials ended\n"
    run_trials(study, Outcome("finished"))
    print_table(study)
    assert "0  finished  1" in capsys.readouterr().out
    console = off_terminal()
    with LiveTable(study, 1, console):
        run_trials(study, Outcome("finished"))
    assert printed(console) == ["trial 1 finished: 0:00; x=2"]
