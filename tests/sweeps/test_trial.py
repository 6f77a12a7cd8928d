"""One trial: the outcome in its run folder, and the end of its process."""

import pytest

from lightning_colorize.sweeps import process, worker
from lightning_colorize.sweeps.process import run_process
from lightning_colorize.sweeps.status import rows
from tests.conftest import until
from tests.sweeps.conftest import ends, is_alive

VALIDATED = """
echo '{"epoch": 0, "step": 1, "metrics": {"val/psnr": 1.0}}' >> validations.jsonl
echo '{"epoch": 1, "step": 2, "metrics": {"val/psnr": null}}' >> validations.jsonl
echo '{"epoch": 2, "step": 3, "metrics": {"val/psnr": 3.0}}' >> validations.jsonl
echo '{"epoch": 3, "step": 4, "metrics": {"val/psnr": 2.0}}' >> validations.jsonl
"""


def result(status, more='"metrics": {"test/psnr": 9.0, "test/ssim": null}'):
    return f'echo \'{{"status": "{status}", {more}}}\' > result.json\n'


ERROR = "lightning-colorize fit: --run.monitor: x is never logged"
OUT_OF_MEMORY = "killed by SIGKILL (out of memory?): no output"
BEHIND = "echo behind > stop\n"
# The metric, the trial's state and value: the best of the validations, or a result of the test.
FINISHED = ("val/psnr", "finished", 3.0)
FAILED = ("val/psnr", "failed", 3.0)
WITHOUT = ("test/psnr", "failed", None)


@pytest.mark.parametrize(
    ("script", "expected", "reason"),
    [
        (result("finished"), FINISHED, None),
        (result("stopped_early"), FINISHED, None),
        (result("finished"), ("test/psnr", "finished", 9.0), None),
        (result("finished"), ("test/ssim", "failed", None), "test/ssim was never a number"),
        (result("finished"), ("test/mse", "failed", None), "test/mse was not logged"),
        # The result decides, not the exit code.
        (f"{result('finished')}exit 3", FINISHED, None),
        ("echo done", FAILED, "exit code 0: done"),
        ("echo a; exit 2", FAILED, "exit code 2: a"),
        ("exit 2", FAILED, "exit code 2: no output"),
        (f"echo '{ERROR}'; echo accepted; exit 2", FAILED, f"exit code 2: {ERROR}"),
        ("kill -9 $$", FAILED, OUT_OF_MEMORY),
        ("kill -40 $$", FAILED, "killed by signal 40: no output"),
        (f"{result('failed')}exit 1", FAILED, "exit code 1: no output"),
        # While it trains, a kill is by another program: resumed, but not forever.
        (f"{result('running')}kill -9 $$", FAILED, f"{OUT_OF_MEMORY}, 2 times"),
        ("kill $$", FAILED, "interrupted, 2 times"),
        ('echo \'{"status": "fin\' > result.json', FAILED, "result.json cannot be read"),
        (result("finished", '"metrics": null'), WITHOUT, "result.json cannot be read"),
        (result("finished", '"metrics": {"test/psnr": NaN}'), WITHOUT, "test/psnr was never a"),
        # Stopped by the engine, or by itself before it saw the request.
        (BEHIND + result("stopped_early"), ("val/psnr", "pruned", 3.0), "behind"),
        (BEHIND + result("stopped_early", '"stop_requested": false'), FINISHED, None),
        (BEHIND + result("finished"), FINISHED, None),
    ],
)
def test_the_outcome_of_a_run(engine, monkeypatch, script, expected, reason):
    metric, *outcome = expected
    monkeypatch.setattr(worker, "_MOST_INTERRUPTIONS", 1)
    text = f'cd "$LIGHTNING_COLORIZE_TRIAL"\n{VALIDATED}{script}'
    study = engine.study(
        {"x": 1},
        command=["/bin/sh", "-c", text, "${args}"],
        metric={"name": metric, "goal": "maximize"},
    )
    engine.work(study)
    (row,) = rows(study)
    assert [row.state, row.value] == outcome
    assert row.reason == reason or (reason and row.reason.startswith(reason))


def test_a_result_counts_if_it_was_written_since_the_start(engine):
    study = engine.study({"x": 1}, command=["/bin/sh", "-c", "exit 1", "${args}"])
    study.folder_of(0).mkdir()
    ends("failed")(study.folder_of(0))
    engine.work(study)
    assert rows(study)[0].reason == "exit code 1: no output"
    # One that has ended is not run again.
    ends("finished", {"val/psnr": 4.5})(study.folder_of(0))
    study.retry_failed()
    engine.work(study)
    assert rows(study)[0].value == 4.5


def run_script(script, folder, urgency=lambda: 0):
    return run_process(["/bin/sh", "-c", script], folder, folder.parent, "", urgency)


def test_the_whole_group_of_a_process_ends(tmp_path):
    # As a rank that has crashed leaves the others, which hold their GPUs.
    code, line = run_script("sleep 60 & echo $!; exit 1", tmp_path / "crashes")
    assert code == 1
    until(lambda: not is_alive(int(line)), 5)


@pytest.mark.parametrize(
    ("action", "grace", "expected"),
    [("echo written; exit 143", 10, (143, "written")), ("", 0.3, (-9, "ready"))],
)
def test_an_interrupted_process_has_a_grace_period(tmp_path, monkeypatch, action, grace, expected):
    monkeypatch.setattr(process, "_GRACE", grace)
    script = f"trap '{action}' TERM; echo ready; while :; do sleep 0.05; done"
    log = tmp_path / "trial/output.log"
    assert run_script(script, log.parent, lambda: "ready" in log.read_text()) == expected
