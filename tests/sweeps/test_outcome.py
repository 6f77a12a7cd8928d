import json
import signal

import pytest

from lightning_colorize.sweeps.outcome import History, Outcome, ended, judge, stamp
from lightning_colorize.sweeps.spec import Metric

PSNR = Metric(name="val/psnr", goal="maximize")


def line(epoch, value, name="val/psnr"):
    return json.dumps({"epoch": epoch, "step": 10 * epoch, "metrics": {name: value}}) + "\n"


def write(folder, *lines):
    with (folder / "validations.jsonl").open("a") as file:
        file.write("".join(lines))


def result(folder, status, **metrics):
    (folder / "result.json").write_text(json.dumps({"status": status, "metrics": metrics}))


def judged(folder, code=0, metric=PSNR, has_result=True, last_line="last"):
    history = History(folder, None if metric is None else metric.name)
    history.read()
    return judge(folder, history, metric, code, has_result, last_line)


def test_a_history_is_read_as_it_grows(tmp_path):
    history = History(tmp_path, "val/psnr")
    assert not history.read()
    write(tmp_path, line(0, 1.0), line(1, 2.0)[:20])
    assert history.read()
    assert history.values == [1.0]
    assert not history.read()
    write(tmp_path, line(1, 2.0)[20:], line(2, None), line(3, 3.0, "val/loss"))
    assert history.read()
    assert (history.values, history.epoch) == ([1.0, 2.0], 3)


def test_of_an_epoch_that_was_run_again_the_later_line_counts(tmp_path):
    write(tmp_path, line(0, 1.0), line(1, 2.0), line(2, 3.0))
    # Killed; goes on from the checkpoint of epoch 0.
    write(tmp_path, line(1, 5.0))
    history = History(tmp_path, "val/psnr")
    history.read()
    assert history.values == [1.0, 5.0]


def test_half_a_line_of_a_killed_process_is_passed_over(tmp_path):
    write(tmp_path, line(0, 1.0), line(1, 2.0)[:20], line(1, 4.0), line(2, 5.0))
    history = History(tmp_path, "val/psnr")
    history.read()
    assert history.values == [1.0, 5.0]


def test_a_run_that_begins_anew_is_read_anew(tmp_path):
    write(tmp_path, line(0, 99.0), line(1, 98.0))
    history = History(tmp_path, "val/psnr")
    history.read()
    (tmp_path / "validations.jsonl").unlink()
    write(tmp_path, line(0, 1.0))
    assert history.read()
    assert (history.values, history.epoch) == ([1.0], 0)
    (tmp_path / "validations.jsonl").unlink()
    assert history.read()
    assert (history.values, history.epoch, history.logged) == ([], None, False)
    assert not history.read()


def test_another_file_as_long_as_the_former_is_read_too(tmp_path):
    write(tmp_path, line(0, 9.0))
    history = History(tmp_path, "val/psnr")
    history.read()
    (tmp_path / "validations.jsonl").rename(tmp_path / "former")
    write(tmp_path, line(0, 1.0))
    assert history.read()
    assert history.values == [1.0]


@pytest.mark.parametrize(
    "broken",
    [
        *("1", "null", '{"epoch": 1, "metrics": {"val/psnr": 9.0}}', "[" * 9),
        '{"epoch": 1, "step": "x", "metrics": {"val/psnr": 9.0}}',
        '{"epoch": 1, "step": 5, "metrics": 9.0}',
    ],
)
def test_lines_of_another_form_are_passed_over(tmp_path, broken):
    write(tmp_path, line(0, 1.0), f"{broken}\n", line(1, 2.0))
    result(tmp_path, "finished")
    assert judged(tmp_path) == Outcome("finished", 2.0)


def test_a_number_too_large_for_a_float_is_none(tmp_path):
    write(tmp_path, line(0, 10**400), line(1, 2.0))
    result(tmp_path, "finished")
    assert judged(tmp_path) == Outcome("finished", 2.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"status": "fin', "result.json is not JSON ("),
        ("[]", "result.json is not a JSON object"),
        ("{}", "result.json says no status"),
        ('{"status": 3}', "result.json says no status"),
    ],
)
def test_a_result_of_another_form_is_a_failure(tmp_path, text, reason):
    write(tmp_path, line(0, 1.0))
    (tmp_path / "result.json").write_text(text)
    assert not ended(tmp_path)
    outcome = judged(tmp_path)
    assert outcome.state == "failed"
    assert outcome.reason.startswith(reason)
    # Torn by the signal that ended it.
    assert judged(tmp_path, 143).state == "interrupted"


def test_a_result_that_cannot_be_read_is_a_failure(tmp_path):
    (tmp_path / "result.json").mkdir()
    assert not ended(tmp_path)
    assert judged(tmp_path).reason == "result.json cannot be read (Is a directory)"


def test_a_result_needs_no_metrics_where_validations_have_them(tmp_path):
    write(tmp_path, line(0, 1.0))
    (tmp_path / "result.json").write_text('{"status": "finished"}')
    assert judged(tmp_path) == Outcome("finished", 1.0)
    missing = judged(tmp_path, metric=Metric(name="test/psnr", goal="maximize"))
    assert missing == Outcome("failed", None, "test/psnr was not logged")


@pytest.mark.parametrize(("goal", "value"), [("maximize", 3.0), ("minimize", 1.0)])
def test_the_value_is_the_best_of_the_history(tmp_path, goal, value):
    write(tmp_path, line(0, 1.0), line(1, None), line(2, 3.0), line(3, 2.0), line(4, float("inf")))
    result(tmp_path, "finished", **{"val/psnr": 9.0})
    assert judged(tmp_path, metric=Metric(name="val/psnr", goal=goal)) == Outcome("finished", value)


def test_a_metric_of_the_test_is_taken_from_the_result(tmp_path):
    write(tmp_path, line(0, 1.0))
    result(tmp_path, "finished", **{"test/psnr": 9.0})
    assert judged(tmp_path, metric=Metric(name="test/psnr", goal="maximize")).value == 9.0
    result(tmp_path, "finished", **{"test/psnr": None})
    assert judged(tmp_path, metric=Metric(name="test/psnr", goal="maximize")).state == "failed"


def test_stopped_early_by_itself_or_by_the_engine(tmp_path):
    write(tmp_path, line(0, 1.0), line(1, 2.0))
    result(tmp_path, "stopped_early")
    assert judged(tmp_path) == Outcome("finished", 2.0)
    (tmp_path / "stop").write_text("behind\n")
    assert judged(tmp_path) == Outcome("pruned", 2.0, "behind")
    # Its own early stopping came first.
    (tmp_path / "result.json").write_text('{"status": "stopped_early", "told_to_stop": false}')
    assert judged(tmp_path) == Outcome("finished", 2.0)
    # It had ended before it read that.
    result(tmp_path, "finished")
    assert judged(tmp_path) == Outcome("finished", 2.0)


@pytest.mark.parametrize("code", [130, 143, -signal.SIGTERM, -signal.SIGINT])
def test_signals_that_ask_to_end_are_interruptions(tmp_path, code):
    assert judged(tmp_path, code, has_result=False).state == "interrupted"


@pytest.mark.parametrize(
    ("code", "last_line", "reason"),
    [
        (1, "RuntimeError: boom", "exit code 1: RuntimeError: boom"),
        (2, "", "exit code 2: it printed nothing"),
        (-signal.SIGKILL, "epoch 3", "killed by SIGKILL (out of memory?): epoch 3"),
        (-signal.SIGSEGV, "epoch 3", "killed by SIGSEGV: epoch 3"),
    ],
)
def test_reasons_of_failures(tmp_path, code, last_line, reason):
    # What an earlier attempt left says nothing of this one.
    result(tmp_path, "interrupted")
    outcome = judged(tmp_path, code, has_result=False, last_line=last_line)
    assert outcome == Outcome("failed", None, reason)
    result(tmp_path, "failed")
    assert judged(tmp_path, code, last_line=last_line) == Outcome("failed", None, reason)


def test_a_result_is_this_attempts_if_it_was_written_since(tmp_path):
    before = stamp(tmp_path)
    assert before is None
    result(tmp_path, "interrupted")
    written = stamp(tmp_path)
    assert written != before
    assert stamp(tmp_path) == written
