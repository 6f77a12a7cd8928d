"""Trials of every sweep file, with values and macros expanded by W&B, in `fit`."""

from pathlib import Path

import pytest
import yaml

from lightning_colorize.cli import main

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))

# Small runs that download nothing.
SMALLER = {
    "data.batch_size": 2,
    "data.size": 64,
    "data.num_workers": 0,
    "run.loggers.wandb": "disabled",
}
# A process group in the tests' own process would keep its port, which later subprocesses inherit.
ONE_PROCESS = {"trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.strategy": "auto"}
# A trained network and its categories, which the tests' folder does not have.
UNTRAINED = {"specialists": {"model.checkpoint": "null", "data.source.include": "null"}}
ONE_STEP = {"trainer.max_steps": 1, "trainer.limit_val_batches": 1, "run.test": False}


def words_of(settings):
    return [f"--{name}={value}" for name, value in settings.items()]


def random_weights(sweep, values):
    """Return the changes by which an encoder starts at random: nothing is downloaded in a test."""
    fragment = values.get("model.encoder")
    if fragment is not None:
        encoder = yaml.safe_load((ROOT / fragment).read_text())
    else:
        words = [*sweep["command"], values.get("config", "")]
        experiment = next(word for word in words if word.startswith("experiments/"))
        encoder = yaml.safe_load((ROOT / experiment).read_text())["model"]["init_args"]["encoder"]
    switches = {"pretrained", "frozen"} & {k for k, on in encoder["init_args"].items() if on}
    return {f"model.encoder.{name}": False for name in switches}


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sampled_trial_trains_a_step(path, trials, agent, at_root, tmp_path):
    sweep = yaml.safe_load(path.read_text())
    values = trials(path)[0]
    changed = {n: value for n, value in {**SMALLER, **ONE_STEP}.items() if n not in values}
    changed |= {**ONE_PROCESS, **random_weights(sweep, values), "run.root": tmp_path}
    changed |= UNTRAINED.get(path.stem, {})
    words = agent(sweep, values).command
    assert main([*words[words.index("fit") :], *words_of(changed)]) == 0
