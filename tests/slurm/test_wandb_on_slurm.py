"""W&B's own agents as jobs of a real Slurm cluster of two nodes, against a stub of W&B's server."""

import os
import re
import sys
import threading

import pytest

from lightning_colorize.cluster.batch import Resources
from lightning_colorize.sweeps import launch as launching
from lightning_colorize.sweeps import wandb
from lightning_colorize.sweeps.agent import records
from lightning_colorize.sweeps.launch import WorkerOptions
from lightning_colorize.sweeps.spec import parse_sweep
from tests.conftest import read_lines, until
from tests.sweeps.conftest import engine  # noqa: F401
from tests.wandb_server import WandbServer

TRIALS = 8
WORKERS = 3  # two share a node
EPOCHS = 40

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

OPTIONS = Resources(partition="two", cpus=1, gpus=2, mem="0", time="01:00:00")

# Records what a trial sees, then becomes the trial.
PROBE = """
import json, os, sys
seen = {name: value for name, value in os.environ.items()
        if name.startswith(("SLURM", "MASTER", "CUDA", "WANDB_RUN", "WANDB_SWEEP_ID"))}
with open(os.environ["LIGHTNING_COLORIZE_TRIAL"] + "/seen", "a") as file:
    print(json.dumps(seen), file=file)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def server(monkeypatch, tmp_path):
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "local-" + 40 * "a")
        monkeypatch.setenv("WANDB_DIR", str(tmp_path))
        yield server


def test_trials_survive_a_killed_job_and_a_drained_node(
    cluster,
    server,
    monkeypatch,
    tmp_path,
    capfd,
    engine,  # noqa: F811
):
    monkeypatch.setattr(launching, "_QUERY_EVERY", 1.0)
    monkeypatch.setattr(wandb, "_CREATE_TIMEOUT", 120.0)
    # Of an outer launcher: two trials cannot share a port.
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("LOCAL_RANK", "0")
    (tmp_path / "probe.py").write_text(PROBE)
    stub = [sys.executable, "-SE", str(engine.stub), "--seconds=0.1", f"--epochs={EPOCHS}"]
    sweep = parse_sweep(
        {
            "method": "grid",
            "command": ["${env}", "${interpreter}", str(tmp_path / "probe.py"), *stub, "${args}"],
            "parameters": {"seed_everything": {"values": list(range(TRIALS))}},
        },
        "agents.yaml",
    )
    folder = tmp_path / "agents-abcd1234"
    disturbed = []

    def watch():
        """Return how many unfinished trials have started to validate."""
        left = [folder / record.run_id for record in records(folder) if record.code is None]
        return sum(len(read_lines(trial / "validations.jsonl")) > 1 for trial in left)

    def disturb():
        """Kill one job and drain the node of another one, both in mid-run."""
        until(lambda: done.is_set() or watch() == WORKERS, 1200)
        states = cluster("squeue", "--noheader", "--states=R", "--format=%i %N").splitlines()
        jobs = dict(map(str.split, states))
        killed = min(job for job in jobs if jobs[job] == "n1")
        (requeued,) = (job for job in jobs if jobs[job] == "n2")
        disturbed.extend([killed, requeued])
        cluster("scancel", "--full", "--signal=KILL", killed)
        cluster("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
        cluster("scontrol", "requeue", requeued)

    done = threading.Event()
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        code = wandb.launch_wandb(sweep, tmp_path, WorkerOptions(WORKERS, slurm=OPTIONS))
    finally:
        done.set()
        thread.join()
        cluster("scontrol", "update", "NodeName=n2", "State=RESUME", check=False)
        for log in sorted(folder.glob("slurm/*_log.out")):
            said = [line for line in log.read_text().splitlines() if "About to run" not in line]
            print(f"--- {log.name}", *said, sep="\n")

    lines = capfd.readouterr().out.splitlines()
    print(*lines, sep="\n")
    assert code == 0
    assert f"trials    {TRIALS} of {TRIALS} completed" in lines
    requeued = disturbed[1]
    assert "Restarts=1" in cluster("scontrol", "show", "job", requeued)
    assert re.search(f"job {requeued}: running on n1", "\n".join(lines))
    # Each combination once, each validation once, and only two trials in two parts.
    assert [each["seed_everything"] for each in server.handed.values()] == list(range(TRIALS))
    assert [record.run_id for record in records(folder)] == sorted(server.handed)
    starts = {}
    for run in server.handed:
        validated = read_lines(folder / run / "validations.jsonl")
        assert [line["epoch"] for line in validated] == list(range(EPOCHS))
        starts[run] = read_lines(folder / run / "seen")
        print(run, *starts[run])
    assert sorted(map(len, starts.values())) == [1] * (TRIALS - 2) + [2, 2]
    devices = set()
    for run, seen in starts.items():
        for variables in seen:
            devices.add(variables.pop("CUDA_VISIBLE_DEVICES"))
            conf = {"SLURM_CONF": os.environ["SLURM_CONF"]}
            assert variables == {"WANDB_RUN_ID": run, "WANDB_SWEEP_ID": "abcd1234", **conf}
    assert devices == {"0,1", "2,3"}
    assert not server.runs.keys() - server.handed.keys()
