"""`launch` and the batch scripts of experiments/ on a real Slurm cluster of two nodes."""

import json
import re
from pathlib import Path

import pytest

from lightning_colorize.runs.result import RunResult
from tests.conftest import read_lines, until
from tests.distributed.launchers import steps_of

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]

SCRIPTS = Path(__file__).parents[2] / "experiments" / "slurm"
EPOCHS = 24
PER_EPOCH = 3  # steps: twelve images in batches of two processes of two


def words_of(command, name):
    """Return the words of a run with loader processes, which Slurm signals too."""
    return command.words(
        name,
        *("--data.batch_size", 2, "--data.num_workers", 1, "--data.cache", "never"),
        *("--trainer.max_epochs", EPOCHS, "--run.grid_images", 0),
        without=["--trainer.accelerator"],  # set by launch
    )


def test_a_requeued_run_on_two_nodes_resumes(command, cluster, capsys):
    resources = ["--partition", "two", "--time", "00:30:00", "--mem", "0", "--cpus", "2"]
    words = words_of(command, "launched")
    assert command("launch", "--nodes", 2, "--gpus", 0, *resources, *words) == 0
    output = capsys.readouterr().out
    run = command.root / "tiny" / "launched"
    job = re.search(r"^job +(\d+);", output, re.MULTILINE)[1]
    log = Path(re.search(r"^log +(.+)$", output, re.MULTILINE)[1])
    assert f"run       {run}\n" in output

    def restarts():
        return int(re.search(r"Restarts=(\d+)", cluster("scontrol", "show", "job", job))[1])

    try:
        # As Slurm does before the time limit: all processes but the script.
        until(lambda: len(steps_of(run)) > 5, 300)
        cluster("scancel", "--signal=USR1", job)
        until(lambda: restarts() == 1, 60)
        before = len(steps_of(run))
        assert 5 < before < EPOCHS * PER_EPOCH
        assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
        # As preemption does: SIGTERM.
        until(lambda: len(steps_of(run)) > before + 5, 300)
        cluster("scontrol", "requeue", job)
        until(lambda: restarts() == 2, 60)
        assert len(steps_of(run)) < EPOCHS * PER_EPOCH
        until(lambda: not cluster("squeue", "--noheader", "--job", job, check=False), 200)
    finally:
        print(log.read_text() if log.is_file() else "no log")

    text = log.read_text()
    assert text.count("SIGUSR1: writing a checkpoint after this batch") == 1
    assert text.count("\nresuming ") == 2
    assert text.count("device    cpu x 2") == 3
    result = RunResult.read(run)
    assert (result.status, result.restarts) == ("finished", 2)
    assert result.batches == EPOCHS * PER_EPOCH
    # Every step once, in its order, and so every validation.
    assert steps_of(run) == list(range(EPOCHS * PER_EPOCH))
    validations = read_lines(run / "validations.jsonl")
    whole = list(range(PER_EPOCH, EPOCHS * PER_EPOCH + 1, PER_EPOCH))
    assert [line["step"] for line in validations] == whole
    assert not list(run.rglob("hpc_ckpt*"))

    # A second launch submits no job.
    assert command("launch", "--nodes", 2, "--gpus", 0, *resources, *words) == 0
    assert f"nothing to do: {run} is finished" in capsys.readouterr().out
    assert cluster("squeue", "--noheader") == ""


STUB = """#!/bin/bash
echo "task $SLURM_PROCID of $SLURM_NTASKS, start $SLURM_RESTART_COUNT:" "$@" >> calls
[ "$SLURM_PROCID" = 0 ] && [ ! -e second ] || exit 0
touch second
exit {code}
"""


@pytest.mark.parametrize(("code", "starts"), [(138, 2), (143, 1)])
@pytest.mark.parametrize("script", ["one_node", "several_nodes"])
def test_only_a_run_out_of_time_is_requeued(cluster, tmp_path, monkeypatch, script, code, starts):
    (tmp_path / "lightning-colorize").write_text(STUB.format(code=code))
    (tmp_path / "lightning-colorize").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    nodes = 2 if script == "several_nodes" else 1
    # Options that these nodes lack; the rest comes from the file.
    here = ["--partition=two", "--gpus-per-node=0", "--mem=0", "--cpus-per-task=1", "--time=10"]
    here += [f"--ntasks-per-node={2 // nodes}"]
    cluster("sbatch", *here, str(SCRIPTS / f"{script}.sbatch"), "--data.root", "my photos")
    until(lambda: not cluster("squeue", "--noheader"), 60)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2 * starts
    assert {line.partition(",")[0] for line in calls} == {"task 0 of 2", "task 1 of 2"}
    for line in calls:
        assert f"--trainer.num_nodes {nodes} --trainer.devices {2 // nodes}" in line
        assert line.endswith("--run.auto_resume true --data.root my photos")
