"""The YAML of sweeps/: W&B's schema, our own reading, and `fit` takes every combination."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

from lightning_colorize.tasks import CGANTask

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def read(path):
    return yaml.safe_load(path.read_text())


def encoders(name):
    """Return the classes of the encoders that a sweep compares, and their settings."""
    values = read(ROOT / "sweeps" / f"{name}.yaml")["parameters"]["model.encoder"]["values"]
    fragments = [read(ROOT / value) for value in values]
    return [(f["class_path"].rpartition(".")[2], f["init_args"]) for f in fragments]


def test_quick_is_two_by_two_and_fetches_nothing():
    parameters = read(ROOT / "sweeps" / "quick.yaml")["parameters"]
    assert [len(p["values"]) for p in parameters.values() if "values" in p] == [2, 2]
    assert not any(settings.get("pretrained") for _, settings in encoders("quick"))
    assert "data.root" not in parameters


def test_systems_compares_all_published_systems_on_one_folder():
    parameters = read(ROOT / "sweeps" / "systems.yaml")["parameters"]
    ours = {"base", "quickstart", "photos_cpu"}
    files = {path.name for path in (ROOT / "experiments").glob("*.yaml") if path.stem not in ours}
    assert {Path(value).name for value in parameters["config"]["values"]} == files
    assert len(files) == 8
    assert read(ROOT / parameters["data.source"]["value"])["class_path"].endswith("FolderSource")


def test_a_trial_of_multi_gpu_is_a_ddp_run_that_a_gan_accepts():
    parameters = read(ROOT / "sweeps" / "multi_gpu.yaml")["parameters"]
    tasks = {read(ROOT / path)["model"]["class_path"] for path in parameters["config"]["values"]}
    assert {task.rpartition(".")[2] for task in tasks} == {"RegressionTask", "CGANTask"}
    assert parameters["trainer.devices"]["value"] >= 2
    assert parameters["trainer.accelerator"]["value"] == "gpu"
    assert parameters["trainer.strategy"]["value"] == CGANTask.distributed_strategy


@every_file
def test_wandbs_schema_has_nothing_against_it(path):
    config = pytest.importorskip("sweeps.config")
    assert config.schema_violations_from_proposed_config(read(path)) == []


@pytest.mark.slow
@every_file
def test_fit_takes_every_combination(path, parser, trials, agent, at_root):
    """In the order of the file and, as W&B's server may send it, in that of the alphabet."""
    sweep = read(path)
    named = [(name, entry.get("values")) for name, entry in sweep["parameters"].items()]
    combinations = trials(path)
    if sweep["method"] == "grid":
        constant = {name: e["value"] for name, e in sweep["parameters"].items() if "value" in e}
        names = [name for name, values in named if values]
        products = itertools.product(*(values for _, values in named if values))
        combinations = [{**dict(zip(names, p, strict=True)), **constant} for p in products]
    for values in combinations:
        configs = []
        for order in (list(values), sorted(values)):
            words = agent(sweep, {name: values[name] for name in order}).command
            configs.append(parser.parse_args(words[words.index("fit") + 1 :]).as_dict())
        assert configs[0] == configs[1]
        for name, value in values.items():
            if name == "config":
                chosen, wanted = configs[0]["model"], read(Path(value))["model"]
            elif str(value).endswith(".yaml"):
                part, _, slot = name.rpartition(".")
                chosen = configs[0][part].get("init_args", configs[0][part])[slot]
                wanted = read(Path(value))
            else:
                continue
            assert chosen["class_path"] == wanted["class_path"]


@every_file
def test_the_head_counts_its_trials(path):
    sweep = read(path)
    count = int(re.search(r"(\d+) trials", path.read_text())[1])
    sizes = [len(entry.get("values", "-")) for entry in sweep["parameters"].values()]
    grid = 1
    for size in sizes:
        grid *= size
    assert count == (grid if sweep["method"] == "grid" else sweep["run_cap"])


@every_file
def test_a_trial_on_several_devices_is_one_line_more(path, parser, trials, agent, at_root):
    sweep = read(path)
    words = agent(sweep, trials(path)[0] | {"trainer.devices": 2}).command
    config = parser.parse_args(words[words.index("fit") + 1 :])
    assert int(config.trainer.devices) == 2
    given = sweep["parameters"].get("trainer.strategy", {"value": "auto"})
    assert config.trainer.strategy == given["value"]  # auto: the task's own, for several devices


@every_file
def test_every_key_is_commented_and_lines_are_short(path):
    lines = path.read_text().splitlines()
    assert max(map(len, lines)) <= 105
    for line in lines:
        plain = re.match(r"\s*(name|value|min|max): |(parameters|command|early_terminate):$", line)
        if re.match(r"\s*[\w.]+: \S", line) and not plain:
            assert " # " in line, f"no comment: {line}"
