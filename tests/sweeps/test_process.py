import os
import sys
import time
from pathlib import Path

from lightning_colorize.sweeps.process import STUDY, TrialProcess

SAY = "import os; print('\\n'.join(f'{k}={v}' for k, v in sorted(os.environ.items())))"


def environment(folder, **options):
    process = TrialProcess([sys.executable, "-SEc", SAY], folder, Path("/"), **options)
    assert process.wait(20) == 0
    lines = (folder / "output.log").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_what_a_trial_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv(STUDY, "postgresql://user:secret@host/studies")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    said = environment(tmp_path / "a/b", sweep="mine", devices=["2", "3"], threads=4)
    assert said["LIGHTNING_COLORIZE_SWEEP"] == "mine"
    assert said["LIGHTNING_COLORIZE_TRIAL"] == str(tmp_path / "a/b")
    assert said["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert said["OMP_NUM_THREADS"] == "4"
    assert "secret" not in str(said)


def test_what_the_environment_says_already_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    said = environment(tmp_path, threads=4)
    assert said["CUDA_VISIBLE_DEVICES"] == "5"
    assert said["OMP_NUM_THREADS"] == "3"
    assert environment(tmp_path / "none", devices=[])["CUDA_VISIBLE_DEVICES"] == ""


def test_output_is_appended_and_the_last_line_is_this_process_own(tmp_path):
    for word in ("one", "two"):
        words = [sys.executable, "-SEc", f"print('{word}\\n\\n')"]
        process = TrialProcess(words, tmp_path, tmp_path)
        process.wait(20)
        assert process.last_line() == word
    assert (tmp_path / "output.log").read_text().split() == ["one", "two"]
    told = ["lightning-colorize fit: --run.monitor: 'x' is never logged", "accepted: val/loss"]
    words = [sys.executable, "-SEc", f"print({told[0]!r}); print({told[1]!r})"]
    process = TrialProcess(words, tmp_path, tmp_path)
    process.wait(20)
    assert process.last_line() == told[0]
    silent = TrialProcess(["/bin/sh", "-c", "true"], tmp_path, tmp_path)
    silent.wait(20)
    assert silent.last_line() == ""


def test_nothing_of_the_group_is_left(tmp_path):
    # As a rank that has crashed leaves the others, which hold their GPUs.
    process = TrialProcess(["/bin/sh", "-c", "sleep 60 & echo $!; exit 1"], tmp_path, tmp_path)
    assert process.wait(20) == 1
    child = int(process.last_line())
    os.kill(child, 0)
    process.end(0)
    deadline = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_end_gives_time_for_a_checkpoint_and_no_more(tmp_path):
    writes = "trap 'echo written; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    process = TrialProcess(["/bin/sh", "-c", writes], tmp_path / "writes", tmp_path)
    deaf = TrialProcess(
        ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"],
        tmp_path / "deaf",
        tmp_path,
    )
    for one in (process, deaf):
        while one.last_line() != "ready":
            time.sleep(0.01)
    process.end(10)
    assert (process.wait(0), process.last_line()) == (143, "written")
    began = time.monotonic()
    deaf.end(0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert deaf.wait(0) == -9


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False
