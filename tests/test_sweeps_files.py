"""The YAML of sweeps/: W&B's schema, and `fit` takes every combination."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

from lightning_colorize.training import ColorizeCLI

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))


class _Parsed(Exception):
    pass


class ParserOnly(ColorizeCLI):
    def before_instantiate_classes(self):
        raise _Parsed


def combinations(sweep):
    """Return each run's parameters as W&B puts them in place of ${args}."""
    choices = []
    for name, parameter in sweep["parameters"].items():
        values = parameter["values"] if "values" in parameter else [parameter["value"]]
        choices.append([f"--{name}={value}" for value in values])
    return [list(words) for words in itertools.product(*choices)]


def test_there_is_a_sweep():
    assert "quick" in {path.stem for path in SWEEPS}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_schema(path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep["method"] in {"grid", "random", "bayes"}
    assert sweep["metric"]["goal"] in {"maximize", "minimize"}
    assert re.fullmatch(r"(val|train)/\w+", sweep["metric"]["name"])
    assert sweep["command"][0] == "${env}"
    assert sweep["command"][-1] == "${args}"
    assert all(isinstance(word, str) and " " not in word for word in sweep["command"])
    assert all(isinstance(name, str) for name in sweep["parameters"])


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_fit_accepts_every_combination(path, monkeypatch):
    # Paths of fragments are relative to the working directory, where the agent is started.
    monkeypatch.chdir(ROOT)
    sweep = yaml.safe_load(path.read_text())
    command = sweep["command"]
    words = command[command.index("fit") + 1 : -1]
    classes = set()
    for parameters in combinations(sweep):
        cli = ParserOnly.__new__(ParserOnly)
        with pytest.raises(_Parsed):
            cli.__init__([*words, *parameters], "fit")
        for parameter in parameters:
            key, _, value = parameter[2:].partition("=")
            if key.startswith("model.") and value.endswith(".yaml"):
                slot = cli.config.model.init_args[key.removeprefix("model.")]
                assert slot.class_path == yaml.safe_load(Path(value).read_text())["class_path"]
                classes.add(slot.class_path)
    assert len(classes) > 1


def test_quick_is_two_by_two():
    assert len(combinations(yaml.safe_load((ROOT / "sweeps" / "quick.yaml").read_text()))) == 4
