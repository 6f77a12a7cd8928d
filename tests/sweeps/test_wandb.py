"""W&B's engine against a stand-in for its command, which prints the messages of the real one."""

import json
import os
import signal
import sys
import threading

import pytest

from lightning_colorize.cluster.batch import Resources
from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps import wandb
from lightning_colorize.sweeps.agent import Record
from lightning_colorize.sweeps.launch import WorkerOptions
from lightning_colorize.sweeps.spec import parse_sweep
from lightning_colorize.sweeps.wandb import create_sweep, launch_wandb
from tests.conftest import until
from tests.slurm.stub import Slurm

SOURCE = {
    "method": "grid",
    "parameters": {
        "model.loss": {"values": ["a.yaml", "b.yaml"]},
        "x": {"value": "null"},
        "lr": {"value": 5e-05},  # which is text to YAML if written as JSON
    },
    "command": ["${env}", "lightning-colorize", "fit", "${args}"],
}

# Stub of `python -m wandb`: records its arguments and prints the messages of W&B 0.31.
STAND_IN = """
import json, os, pathlib, sys, time, yaml
folder = pathlib.Path(os.environ["STAND_IN"])
words = sys.argv[1:]
def note(name, content):
    (folder / name).write_text(json.dumps(content))
if "--cancel" in words:
    note("canceled.json", words)
elif words[0] == "sweep":
    note("sweep.json", {"words": words[:-1], "file": yaml.safe_load(open(words[-1]))})
    assert sys.stdin.read() == ""
    exec(os.environ.get("ON_SWEEP", ""))
    print("wandb: Creating sweep from: quick.yaml", file=sys.stderr)
    print("wandb: Creating sweep with ID: \\x1b[33mabc123\\x1b[0m", file=sys.stderr)
    print("wandb: View sweep at: \\x1b[4m\\x1b[34mhttps://wandb.ai/me/p/sweeps/abc123\\x1b[0m",
          file=sys.stderr)
    print("wandb: Run sweep agent with: \\x1b[33mwandb agent me/p/abc123\\x1b[0m", file=sys.stderr)
else:
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PATH")
    note(f"agent-{os.getpid()}.json",
         {"words": words, "environment": {name: os.environ.get(name) for name in names}})
    exec(os.environ.get("IN_AGENT", ""))
    for _ in range(200 if os.environ.get("LONG") else 0):
        time.sleep(0.1)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """The folder of the stand-in's notes."""
    package = tmp_path / "import" / "wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(STAND_IN)
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
    monkeypatch.setenv("STAND_IN", str(notes))
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return notes


def sweep(**more):
    return parse_sweep({**SOURCE, **more}, "folder/quick.yaml")


def notes_of(folder, kind):
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{kind}-*.json"))]


TRIAL = ["${interpreter}", "-m", "lightning_colorize.sweeps.agent", "trial"]
STORED = {**SOURCE, "name": "quick", "command": [*TRIAL, *SOURCE["command"]]}


@pytest.mark.timeout(300)
def test_wandb_receives_the_file_and_agents_start(stand_in, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert (
        launch_wandb(sweep(run_cap=7), tmp_path / "runs", WorkerOptions(2, 2)) == 1
    )  # no trial was handed out
    created = json.loads((stand_in / "sweep.json").read_text())
    assert created["file"] == {**STORED, "run_cap": 7}
    assert list(created["file"]["parameters"]) == list(SOURCE["parameters"])
    assert created["words"] == ["sweep", "--project", "lightning_colorize"]
    agents = notes_of(stand_in, "agent")
    assert [agent["words"] for agent in agents] == [["agent", "--count", "7", "me/p/abc123"]] * 2
    environments = [agent["environment"] for agent in agents]
    assert {each["CUDA_VISIBLE_DEVICES"] for each in environments} == {"4,5", "6,7"}
    for each in environments:
        assert each["OMP_NUM_THREADS"] is not None
        assert each["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable)
    page = "https://wandb.ai/me/p/sweeps/abc123"
    assert [line.split() for line in capfd.readouterr().out.splitlines()] == [
        *(["sweep", "me/p/abc123"], ["page", page], ["runs", f"{tmp_path}/runs/quick-abc123"]),
        ["trials", "0", "of", "0", "completed"],
    ]


@pytest.mark.parametrize("code", [0, 1])
def test_agents_that_die_fail_the_sweep(stand_in, monkeypatch, tmp_path, code):
    """Although the trials that they were handed have completed."""
    trial = tmp_path / "quick-abc123" / "r1"
    trial.mkdir(parents=True)
    Record(["program"], {"WANDB_RUN_ID": "r1"}, code=0).write(trial)
    monkeypatch.setenv("IN_AGENT", f"sys.exit({code})")
    assert launch_wandb(sweep(), tmp_path, WorkerOptions()) == code


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit(1)", "it gave no reason; "),
        ("print('wandb: something else'); sys.exit(0)", "something else; "),
    ],
)
def test_errors_of_wandb_are_one_line(stand_in, monkeypatch, code, reason):
    monkeypatch.setenv("ON_SWEEP", code)
    with pytest.raises(UsageError) as caught:
        create_sweep(sweep(project="mine"))
    assert json.loads((stand_in / "sweep.json").read_text())["words"][-1] == "mine"
    assert str(caught.value).startswith(f"W&B did not accept the sweep: {reason}")
    assert "\n" not in str(caught.value)


def test_a_silent_server_times_out(stand_in, monkeypatch):
    monkeypatch.setattr(wandb, "_CREATE_TIMEOUT", 1.0)
    monkeypatch.setenv("ON_SWEEP", "time.sleep(30)")
    with pytest.raises(UsageError, match="does not answer within 1 s"):
        create_sweep(sweep())


@pytest.mark.timeout(300)
def test_a_signal_ends_the_agents(stand_in, monkeypatch, tmp_path):
    monkeypatch.setenv("LONG", "yes")

    def terminate():
        until(lambda: len(list(stand_in.glob("agent-*"))) == 2, 200)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    assert launch_wandb(sweep(), tmp_path, WorkerOptions(2)) == 143


def test_an_array_of_agents_is_submitted(stand_in, tmp_path, monkeypatch, capfd):
    pytest.importorskip("submitit")
    cluster = Slurm(tmp_path / "bin", monkeypatch)
    monkeypatch.setattr("lightning_colorize.sweeps.launch._QUERY_EVERY", 0.0)

    def end():
        until((cluster.folder / "12.job").exists, 60)
        cluster.end()

    threading.Thread(target=end).start()
    options = WorkerOptions(8, slurm=Resources(gpus=2, cpus=4))
    assert launch_wandb(sweep(run_cap=7), tmp_path / "runs", options) == 1
    assert json.loads((stand_in / "sweep.json").read_text())["file"] == {**STORED, "run_cap": 7}
    folder = tmp_path / "runs" / "quick-abc123"
    script = (cluster.folder / "12.script").read_text()
    options = ("array=0-7%8", "gpus-per-node=2", "cpus-per-task=4", "requeue", "signal=B:USR2@90")
    assert {f"#SBATCH --{option}" for option in options} <= set(script.splitlines())
    assert f"#SBATCH --output={folder}/slurm/%A_%a_0_log.out" in script
    assert script.rstrip().endswith(
        f"exec {sys.executable} -m lightning_colorize.sweeps.agent job {folder} me/p/abc123 "
        f"{sys.executable} -m wandb agent --count 7 me/p/abc123"
    )
    lines = capfd.readouterr().out.splitlines()
    assert f"submitted 12; logs in {folder}/slurm" in lines
    assert f"job 12_7 has ended; its log: {folder}/slurm/12_7_0_log.out" in lines
    assert lines[-1] == "trials    0 of 0 completed"


def test_a_refused_array_cancels_the_sweep(stand_in, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    cluster = Slurm(tmp_path / "bin", monkeypatch)
    cluster.enable("refuse 12")
    with pytest.raises(UsageError, match=r"\ASlurm refuses the job: Not today\Z"):
        launch_wandb(sweep(), tmp_path / "runs", WorkerOptions(2, slurm=Resources()))
    canceled = json.loads((stand_in / "canceled.json").read_text())
    assert canceled == ["sweep", "--cancel", "me/p/abc123"]


@pytest.mark.slow
def test_a_missing_login_is_one_line(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"did not accept the sweep: No API key configured"):
        create_sweep(sweep())
