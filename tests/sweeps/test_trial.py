"""One trial process: its environment, its output, its end, and the outcome in its run folder."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from lightning_colorize.sweeps.spec import SweepMetric
from lightning_colorize.sweeps.trial import STUDY, Outcome, TrialProcess, TrialRun
from tests.conftest import until
from tests.sweeps.conftest import ends, is_alive, validates

PSNR = SweepMetric(name="val/psnr", goal="maximize")

PRINT_ENV = "import os; print('\\n'.join(f'{k}={v}' for k, v in sorted(os.environ.items())))"


def test_environment_of_a_trial(tmp_path, monkeypatch):
    monkeypatch.setenv(STUDY, "postgresql://user:secret@host/studies")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-SEc", PRINT_ENV]
    assert TrialProcess(words, tmp_path / "a/b", Path("/"), "mine").wait(20) == 0
    lines = (tmp_path / "a/b/output.log").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert environment["LIGHTNING_COLORIZE_SWEEP"] == "mine"
    assert environment["LIGHTNING_COLORIZE_TRIAL"] == str(tmp_path / "a/b")
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "secret" not in str(environment)


def test_output_is_appended_and_last_line_is_per_process(tmp_path):
    error = "lightning-colorize fit: --run.monitor: x is never logged"
    lines = {"one\n\n": "one", f"{error}\naccepted: val/loss\n": error, "": ""}
    for printed, last in lines.items():
        process = TrialProcess(["/bin/sh", "-c", f"printf '{printed}'"], tmp_path, tmp_path)
        process.wait(20)
        assert process.last_line() == last
    assert (tmp_path / "output.log").read_text() == "".join(lines)


def test_end_kills_the_whole_group(tmp_path):
    # As a rank that has crashed leaves the others, which hold their GPUs.
    process = TrialProcess(["/bin/sh", "-c", "sleep 60 & echo $!; exit 1"], tmp_path, tmp_path)
    assert process.wait(20) == 1
    child = int(process.last_line())
    os.kill(child, 0)
    process.end(0)
    until(lambda: not is_alive(child), 5)


def test_end_waits_for_the_grace_period(tmp_path):
    started = []
    for name, action in {"writes": "echo written; exit 143", "deaf": ""}.items():
        script = f"trap '{action}' TERM; echo ready; while :; do sleep 0.05; done"
        started.append(TrialProcess(["/bin/sh", "-c", script], tmp_path / name, tmp_path))
    writes, deaf = started
    until(lambda: writes.last_line() == deaf.last_line() == "ready")
    writes.end(10)
    assert (writes.wait(0), writes.last_line()) == (143, "written")
    began = time.monotonic()
    deaf.end(0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert deaf.wait(0) == -9


def judged(folder, code=0, metric=PSNR, last_line="last", is_old=False):
    """Return the outcome of a run; an old result is one of an earlier process."""
    run = TrialRun(folder, metric)
    run.read()
    if is_old:
        run.mark_start()
    return run.outcome(code, last_line)


def test_values_are_those_of_the_metric(tmp_path):
    run = TrialRun(tmp_path, PSNR)
    assert not run.read()
    validates(1.0, None, float("inf"), 4.0)(tmp_path)
    assert run.read()
    assert (run.values, run.epoch) == ([1.0, 4.0], 3)
    (tmp_path / "validations.jsonl").unlink()
    assert run.read()
    assert (run.values, run.epoch) == ([], None)


TEST = SweepMetric(name="test/psnr", goal="maximize")
LOSS = SweepMetric(name="val/psnr", goal="minimize")


@pytest.mark.parametrize(
    ("metric", "logged", "value", "reason"),
    [
        (PSNR, {"val/psnr": 9.0}, 3.0, None),  # the best of the validations
        (LOSS, {"val/psnr": 9.0}, 1.0, None),
        (PSNR, {}, 3.0, None),
        (TEST, {"test/psnr": 9.0}, 9.0, None),
        (TEST, {"test/psnr": None}, None, "test/psnr was never a number"),
        (TEST, {}, None, "test/psnr was not logged"),
        (None, {}, None, None),
    ],
)
def test_the_value_of_a_finished_run(tmp_path, metric, logged, value, reason):
    validates(1.0, None, 3.0, 2.0, float("inf"))(tmp_path)
    ends("finished", logged)(tmp_path)
    state = "failed" if reason else "finished"
    assert judged(tmp_path, metric=metric) == Outcome(state, value, reason)


OUT_OF_MEMORY = "killed by SIGKILL (out of memory?): last"
ENDED_BY_ANOTHER = (130, 143, -signal.SIGTERM, -signal.SIGINT)


@pytest.mark.parametrize(
    ("status", "code", "last_line", "state", "reason"),
    [
        (None, 0, "done", "failed", "exit code 0: done"),
        (None, 1, "RuntimeError: boom", "failed", "exit code 1: RuntimeError: boom"),
        (None, 2, "", "failed", "exit code 2: no output"),
        (None, -signal.SIGKILL, "last", "failed", OUT_OF_MEMORY),
        (None, -signal.SIGSEGV, "last", "failed", "killed by SIGSEGV: last"),
        ("failed", 1, "boom", "failed", "exit code 1: boom"),
        # While it trains.
        ("running", -signal.SIGKILL, "last", "interrupted", OUT_OF_MEMORY),
        *((None, n, "", "interrupted", "interrupted by another program") for n in ENDED_BY_ANOTHER),
    ],
)
def test_a_run_that_does_not_finish(tmp_path, status, code, last_line, state, reason):
    # The result of an earlier process does not count.
    ends(status or "interrupted")(tmp_path)
    outcome = judged(tmp_path, code, last_line=last_line, is_old=status is None)
    assert outcome == Outcome(state, None, reason)


def test_a_malformed_result_is_a_failure(tmp_path):
    (tmp_path / "result.json").write_text('{"status": "fin')
    assert judged(tmp_path, None) is None
    outcome = judged(tmp_path)
    assert outcome.state == "failed"
    assert outcome.reason.startswith("result.json is not JSON (")
    # Truncated by the signal that ended it.
    assert judged(tmp_path, 143).state == "interrupted"


def test_stopped_early_by_the_run_or_by_the_engine(tmp_path):
    validates(1.0, 2.0)(tmp_path)
    ends("stopped_early")(tmp_path)
    assert judged(tmp_path) == Outcome("finished", 2.0)
    (tmp_path / "stop").write_text("behind\n")
    assert judged(tmp_path) == Outcome("pruned", 2.0, "behind")
    # Its own early stopping came first.
    ends("stopped_early", stop_requested=False)(tmp_path)
    assert judged(tmp_path) == Outcome("finished", 2.0)
    # It had finished before it read the stop file.
    ends("finished")(tmp_path)
    assert judged(tmp_path) == Outcome("finished", 2.0)


def test_a_result_counts_if_it_was_written_since_the_start(tmp_path):
    ends("finished")(tmp_path)
    run = TrialRun(tmp_path, None)
    assert run.outcome() == Outcome("finished")
    run.mark_start()
    assert run.outcome() is None
    assert run.outcome(1, "boom").state == "failed"
    (tmp_path / "result.json").unlink()
    ends("finished")(tmp_path)
    assert run.outcome() == run.outcome(1, "boom") == Outcome("finished")
