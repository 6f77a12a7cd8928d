"""Sweep files read by W&B's own code, without its server."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def at_root(monkeypatch, photo_folder):
    """The folder in which agents are started: paths of fragments are relative to it."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DATA_ROOT", str(photo_folder))
    monkeypatch.setenv("CHECKPOINT", "trained.ckpt")
    return ROOT


def sample(sweep, count=3):
    """Return the values of some trials, by name, as W&B's package chooses them.

    Of a grid, evenly spaced combinations with both ends; otherwise the first draws.
    """
    package = pytest.importorskip("sweeps")
    np.random.seed(0)
    limit = 1000 if sweep["method"] == "grid" else count
    runs = [run for run in package.next_runs(sweep, [], n=limit) if run is not None]
    chosen = np.linspace(0, len(runs) - 1, count).round().astype(int)
    # NumPy's numbers as those of JSON, in which W&B's server sends them.
    return [
        {name: np.asarray(entry["value"]).tolist() for name, entry in runs[i].config.items()}
        for i in chosen
    ]


@pytest.fixture
def trials():
    """The values of three trials of a sweep file."""

    def of(path):
        return sample(yaml.safe_load(path.read_text()))

    return of


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """Return the process that W&B's agent would start for the values of a trial."""
    from wandb import wandb_agent

    started = []

    def start(command, env, **_):
        started.append(SimpleNamespace(command=command, env=env))
        return started[-1]

    monkeypatch.setattr(wandb_agent, "AgentProcess", start)
    for name, value in {"WANDB_DIR": str(tmp_path), "WANDB_SWEEP_ID": "sweep1"}.items():
        monkeypatch.setenv(name, value)

    def of(sweep, values):
        ours = wandb_agent.Agent(api=None, queue=None, sweep_id="sweep1")
        ours._sweep_command = list(sweep.get("command", []))
        arguments = {name: {"value": value} for name, value in values.items()}
        ours._command_run(
            {"run_id": "trial1", "program": sweep.get("program", ""), "args": arguments}
        )
        return started[-1]

    return of
