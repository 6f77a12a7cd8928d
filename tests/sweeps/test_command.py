"""The command of a trial, compared with that of W&B's agent for the same file."""

import os
import sys

import pytest

from lightning_colorize.sweeps.command_line import expand
from lightning_colorize.sweeps.process import run_process
from lightning_colorize.sweeps.spec import parse_sweep
from tests.sweep_files.conftest import agent  # noqa: F401

VALUES = {
    "model.loss": "experiments/loss/l1.yaml",
    "a.bool": True,
    "another.bool": False,
    "nothing": None,
    "null_text": "null",
    "small": 1e-05,
    "large": 1e22,
    "whole": 3,
    "float": 0.1 + 0.2,
    "empty": "",
    "text": 'with spaces, "quotes" and = and ${args}',
    "letters": "grün",
    "list": [1, "a", None, [True]],
    "mapping": {"class_path": "X", "init_args": {"a": 1e-7}},
    "seed_everything": 1,
    "model.loss.beta": 0.5,
}
MACROS = ("args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags", "args_json")
MACROS += ("args_append_hydra", "args_override_hydra")


def sweep_of(command, **keys):
    keys = {"method": "random", "parameters": {"a": {"value": 1}}, "command": command, **keys}
    return parse_sweep({key: value for key, value in keys.items() if value is not None}, "s.yaml")


@pytest.fixture
def wandb_command(agent):  # noqa: F811
    """Return the command of W&B's agent, with arguments in its server's order."""

    def command(tokens, values, **more):
        sweep = {"command": tokens, **more}
        words = agent(sweep, {name: values[name] for name in sorted(values)}).command
        return ["python" if word == sys.executable else word for word in words]

    return command


@pytest.mark.parametrize("macro", MACROS)
def test_arguments_match_wandb(macro, wandb_command):
    tokens = ["${env}", "run.sh", "fit", 5, 0.001, f"${{{macro}}}", "--last"]
    assert expand(sweep_of(tokens), VALUES) == wandb_command(tokens, VALUES)


def test_default_command_matches_wandb(wandb_command):
    ours = expand(sweep_of(None, program="train.py"), VALUES)
    assert ours[:3] == ["/usr/bin/env", sys.executable, "train.py"]
    theirs = wandb_command([], VALUES, program="train.py")
    assert ["python" if word == sys.executable else word for word in ours] == theirs


def test_environment_variables_match_wandb(wandb_command, monkeypatch):
    monkeypatch.setenv("LC_ONE", "one two")
    monkeypatch.delenv("LC_NONE", raising=False)
    tokens = ["run.sh", "${envvar:LC_ONE}", "--x=${envvar:LC_ONE}/${envvar:LC_NONE}", "${args}"]
    ours = expand(sweep_of(tokens), {"a": 1})
    assert ours == wandb_command(tokens, {"a": 1})
    assert ours == ["run.sh", "one two", "--x=one two/LC_NONE", "--a=1"]


def test_the_command_beside_python_is_used(tmp_path, monkeypatch):
    """A trial needs the packages that the sweep was started with."""
    for folder in ("beside", "path"):
        script = tmp_path / folder / "lightning-colorize"
        script.parent.mkdir()
        script.write_text(f"#!/bin/sh\necho {folder} $*\n")
        script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"), prepend=os.pathsep)
    for start in (["${env}"], ["${env}", "OMP_NUM_THREADS=1"]):
        words = expand(sweep_of([*start, "lightning-colorize", "fit", "${args}"]), {"a": 1})
        done = run_process(words, tmp_path / "trial", tmp_path, "", lambda: 0)
        assert done == (0, "beside fit --a=1")
