"""Trials of every sweep file, by W&B's own choice of values and expansion of macros, in `fit`."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_colorize.cli import main
from lightning_colorize.runs.folder import read_config

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))

# Smaller, and what cannot be fetched in a test is not; everything else is the sweep's.
SMALLER = {
    "data.batch_size": 2,
    "data.size": 64,
    "data.num_workers": 0,
    "run.loggers.wandb": "disabled",
}
# A process group in the tests' own process would keep its port, which later subprocesses inherit.
ONE_PROCESS = {"trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.strategy": "auto"}
ONE_STEP = {"trainer.max_steps": 1, "trainer.limit_val_batches": 1, "run.test": False}

# W&B's form of what the shipped files have too little of: None, bool, a class and its arguments.
SPECIMEN = {
    "method": "grid",
    "parameters": {
        "model.channels_last": {"values": [True, False]},
        "model.loss": {"value": "lightning_colorize.losses.Huber"},
        "model.loss.delta": {"values": [0.5, 2]},
        "model.scheduler": {"value": "null"},
        "model.encoder.widths": {"value": [4, 8, 8]},
        "data.crop_scale": {"value": "null"},
        "run.test": {"value": False},
        "seed_everything": {"value": 7},
    },
    "command": ["${env}", "lightning-colorize", "fit", "--config", "experiments/quickstart.yaml",
                "${args}"],
}  # fmt: skip


# Null has the machine choose, and what it chose is written down.
CHOSEN = {"trainer.precision": {"32-true", "bf16-mixed"}}


def words_of(settings):
    return [f"--{name}={value}" for name, value in settings.items()]


def look_up(config, name):
    """Return the value of a dotted name, `init_args` left out where a class is on the way."""
    for part in name.split("."):
        config = config[part] if part in config else config["init_args"][part]
    return config


def expected(value):
    """Return what a parameter's value stands for in a configuration, and whether it is a class."""
    if value == "null":
        return None
    if isinstance(value, str) and value.endswith(".yaml"):
        return yaml.safe_load((ROOT / value).read_text())
    if isinstance(value, str) and value.startswith("lightning_colorize."):
        return {"class_path": value}
    return value


def without_mappings_that_are_empty(value):
    if isinstance(value, dict):
        return {k: without_mappings_that_are_empty(v) for k, v in value.items() if v != {}}
    return value


def assert_is_what_was_sampled(config, values, changed):
    for name, value in ((n, v) for n, v in values.items() if n not in ONE_PROCESS):
        if name == "config":
            experiment = yaml.safe_load((ROOT / value).read_text())
            assert config["model"]["class_path"] == experiment["model"]["class_path"]
            continue
        found, wanted = look_up(config, name), expected(value)
        if isinstance(wanted, dict):
            arguments = dict(wanted.get("init_args", {}))
            # What a further parameter or this test sets of the class.
            further = {**values, **changed}
            for inner in [n for n in further if n.startswith(f"{name}.")]:
                arguments[inner.removeprefix(f"{name}.")] = further[inner]
            if "size" in arguments:  # the command sets it
                arguments["size"] = config["data"]["size"]
            assert found["class_path"] == wanted["class_path"], name
            init_args = without_mappings_that_are_empty(found.get("init_args", {}))
            assert init_args == without_mappings_that_are_empty(arguments), name
        elif wanted is None and name in CHOSEN:
            assert found in CHOSEN[name], name
        else:
            assert found == wanted, name
            assert isinstance(found, bool) == isinstance(wanted, bool), name


def run(started, root, changed):
    """Run what an agent would start, with changes; returns the exit code."""
    words = started.command[started.command.index("fit") :]
    return main([*words, f"--run.root={root}", *words_of(changed)])


def random_weights(sweep, values):
    """Return the changes by which an encoder starts at random: nothing is downloaded in a test."""
    encoder = expected(values.get("model.encoder"))
    if encoder is None:
        words = [*sweep["command"], values.get("config", "")]
        experiment = next(word for word in words if word.startswith("experiments/"))
        encoder = yaml.safe_load((ROOT / experiment).read_text())["model"]["init_args"]["encoder"]
    switches = {"pretrained", "frozen"} & {k for k, on in encoder["init_args"].items() if on}
    return {f"model.encoder.{name}": False for name in switches}


def check(sweep, values, agent, root):
    """Run a trial to `fast_dev_run` and one step of it as a run with a folder; compare."""
    started = agent(sweep, values)
    changed = {name: value for name, value in SMALLER.items() if name not in values} | ONE_PROCESS
    changed |= random_weights(sweep, values)
    assert run(started, root, {**changed, "trainer.fast_dev_run": 1}) == 0
    assert not root.exists(), "fast_dev_run leaves nothing"
    one_step = {name: value for name, value in ONE_STEP.items() if name not in values}
    assert run(started, root, {**changed, **one_step}) == 0
    (folder,) = root.glob("*/*/")
    assert_is_what_was_sampled(read_config(folder), values, changed)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sampled_trial_runs_as_sampled(path, number, trials, agent, at_root, tmp_path):
    sweep = yaml.safe_load(path.read_text())
    check(sweep, trials(path)[number], agent, tmp_path / "runs")


@pytest.mark.ddp
@pytest.mark.parametrize("experiment", ["cnn_unet", "cgan_pix2pix"])
def test_a_trial_of_multi_gpu_trains_in_two_processes(experiment, agent, at_root, tmp_path):
    sweep = yaml.safe_load((ROOT / "sweeps" / "multi_gpu.yaml").read_text())
    values = {n: e["value"] for n, e in sweep["parameters"].items() if "value" in e}
    values |= {"config": f"experiments/{experiment}.yaml", "data.batch_size": 2}
    command = agent(sweep, values).command
    words = command[command.index("fit") :]
    small = {**SMALLER, **ONE_STEP, "trainer.accelerator": "cpu", "run.root": tmp_path / "runs"}
    command = [sys.executable, "-m", "lightning_colorize", *words, *words_of(small)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").glob("*/*/")
    assert read_config(folder)["trainer"]["strategy"] == values["trainer.strategy"]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_none_bool_and_classes_arrive(number, trials, agent, at_root, tmp_path):
    (tmp_path / "specimen.yaml").write_text(yaml.safe_dump(SPECIMEN, sort_keys=False))
    values = trials(tmp_path / "specimen.yaml")[number]
    check(SPECIMEN, values, agent, tmp_path / "runs")
