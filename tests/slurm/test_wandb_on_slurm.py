"""W&B's own agents as jobs of a real Slurm cluster of two nodes, against a stub of W&B's server."""

import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from lightning_colorize.cluster.batch import Resources
from lightning_colorize.runs.result import RunResult
from lightning_colorize.sweeps import launch as launching
from lightning_colorize.sweeps import wandb
from lightning_colorize.sweeps.agent import records
from lightning_colorize.sweeps.spec import parse_sweep
from tests.conftest import read_lines, until
from tests.sweeps.conftest import engine  # noqa: F401
from tests.wandb_server import WandbServer

# Real trials of `fit` take half a minute of two cores each: by hand, LC_REAL_TRIALS=1.
REAL = bool(os.environ.get("LC_REAL_TRIALS"))
TRIALS = 8
WORKERS = 3  # two share a node
EPOCHS = 16 if REAL else 40

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(3000 if REAL else 600)]

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


def fit(command):
    """Return the command of a real trial of two processes that logs to W&B."""
    return [
        *(sys.executable, "-m", "lightning_colorize", "fit"),
        *command.words("unused", "--data.batch_size", 2, "--run.grid_images", 0),
        *("--trainer.devices", "2", "--trainer.strategy", "ddp", "--run.loggers.wandb", "online"),
        *("--trainer.max_epochs", str(EPOCHS), "--run.patience", str(EPOCHS), "${args}"),
    ]


def ports_of(trial):
    """Return the MASTER_PORT of the second process of a trial, while there is one."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if f"LIGHTNING_COLORIZE_TRIAL={trial}" in variables and "LOCAL_RANK=1" in variables:
            yield from (v.partition("=")[2] for v in variables if v.startswith("MASTER_PORT="))


def test_trials_survive_a_killed_job_and_a_drained_node(
    command,
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
    words = fit(command) if REAL else [*stub, "${args}"]
    sweep = parse_sweep(
        {
            "method": "grid",
            "command": ["${env}", "${interpreter}", str(tmp_path / "probe.py"), *words],
            "parameters": {"seed_everything": {"values": list(range(TRIALS))}},
        },
        "agents.yaml",
    )
    folder = tmp_path / "agents-abcd1234"
    ports, disturbed = {}, []

    def watch():
        """Return how many unfinished trials have started to validate."""
        left = [folder / record.run_id for record in records(folder) if record.code is None]
        for trial in left if REAL else []:
            ports.setdefault(trial.name, set()).update(ports_of(trial))
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
        while not done.is_set():
            watch()
            time.sleep(0.5)

    done = threading.Event()
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        code = wandb.launch_wandb(sweep, tmp_path, WORKERS, options=OPTIONS)
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
        print(run, *starts[run], *sorted(ports.get(run, [])))
    assert sorted(map(len, starts.values())) == [1] * (TRIALS - 2) + [2, 2]
    devices = set()
    for run, seen in starts.items():
        for variables in seen:
            devices.add(variables.pop("CUDA_VISIBLE_DEVICES"))
            conf = {"SLURM_CONF": os.environ["SLURM_CONF"]}
            assert variables == {"WANDB_RUN_ID": run, "WANDB_SWEEP_ID": "abcd1234", **conf}
    assert devices == {"0,1", "2,3"}
    assert not server.runs.keys() - server.handed.keys()
    if REAL:
        for run in server.handed:
            restarts = RunResult.read(folder / run).restarts
            assert restarts == len(starts[run]) - 1
            steps = [json.loads(line) for line in server.runs[run]["history"]]
            epochs = [step["epoch"] for step in steps if "val/psnr" in step]
            print(run, "restarts", restarts, "validations at W&B", len(epochs))
            assert epochs == list(range(EPOCHS))
            assert server.runs[run]["exits"][-1] == 0
        assert sum(map(len, ports.values())) == len(set().union(*ports.values())) >= TRIALS
