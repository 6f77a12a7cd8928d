"""The YAML of sweeps/ and benchmarks/: W&B's schema, our own parser, and `fit` accept it."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

from lightning_colorize.runs.folder import flatten
from lightning_colorize.sweeps.spec import read_sweep
from tests.test_experiments import PUBLISHED

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("sweeps/*.yaml"), *ROOT.glob("benchmarks/sweeps/*_64px.yaml")])
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def read(path):
    return yaml.safe_load(path.read_text())


def look_up(config, key):
    for part in key.split("."):
        config = config[part] if part in config else config["init_args"][part]
    return config


def test_quick_is_two_by_two_and_fetches_nothing():
    parameters = read(ROOT / "sweeps" / "quick.yaml")["parameters"]
    assert [len(p["values"]) for p in parameters.values() if "values" in p] == [2, 2]
    encoders = [read(ROOT / value) for value in parameters["model.encoder"]["values"]]
    assert not any(encoder["init_args"].get("pretrained") for encoder in encoders)
    assert "data.root" not in parameters


def test_systems_compares_all_published_systems_on_one_folder():
    parameters = read(ROOT / "sweeps" / "systems.yaml")["parameters"]
    names = {Path(value).stem for value in parameters["config"]["values"]}
    assert names == PUBLISHED | {"cgan_staged"}
    assert read(ROOT / parameters["data.source"]["value"])["class_path"].endswith("FolderSource")


def test_a_trial_of_multi_gpu_is_a_ddp_run_that_a_gan_accepts():
    parameters = read(ROOT / "sweeps" / "multi_gpu.yaml")["parameters"]
    tasks = {read(ROOT / path)["model"]["class_path"] for path in parameters["config"]["values"]}
    assert {task.rpartition(".")[2] for task in tasks} == {"RegressionTask", "CGANTask"}
    assert parameters["trainer.devices"]["value"] >= 2
    assert parameters["trainer.accelerator"]["value"] == "gpu"
    assert parameters["trainer.strategy"]["value"] == "ddp"


def test_encoders_x_losses_differ_only_in_how_a_trial_runs():
    one, two = (
        read(ROOT / "sweeps" / f"encoders_x_losses{suffix}.yaml") for suffix in ("", "_multi_gpu")
    )
    parameters = two["parameters"]
    changed = {
        "data.cache": {"value": "auto"},
        "trainer.accelerator": {"value": "gpu"},
        "trainer.devices": {"value": 2},
        "trainer.strategy": {"value": "ddp"},
    }
    assert parameters == one["parameters"] | changed
    assert two | {"name": one["name"], "parameters": one["parameters"]} == one


def flat(config):
    """Return the values of a configuration by dotted name, without its files."""
    values = {name.replace("init_args.", ""): value for name, value in flatten(config).items()}
    return {n: v for n, v in values.items() if not re.search(r"(^|\.)(config|__\w+)$", n)}


def test_each_measure_of_regularization_changes_what_its_file_says(parser, agent, at_root):
    sweep = read(ROOT / "sweeps" / "regularization.yaml")
    files = sweep["parameters"]["config"]["values"]
    assert {Path(file) for file in files} == {
        path.relative_to(ROOT) for path in (ROOT / "experiments/regularization").glob("*.yaml")
    }

    def parsed(file):
        words = agent(sweep, {"config": file, "seed_everything": 1}).command
        return flat(parser.parse_args(words[words.index("fit") + 1 :]).as_dict())

    base, *others = map(parsed, files)
    assert base["trainer.max_epochs"] == 20
    assert base["data.size"] == 64
    seen = []
    for file, measured in zip(files[1:], others, strict=True):
        changed = {name for name in base | measured if base.get(name) != measured.get(name)}
        named = {name for name in flat(read(ROOT / file)) if not name.endswith("class_path")}
        assert changed == named != set()
        seen.append(changed)
    assert len(seen) == len(files) - 1


@every_file
def test_wandb_schema_accepts_every_file(path):
    config = pytest.importorskip("sweeps.config")
    assert config.schema_violations_from_proposed_config(read(path)) == []


@pytest.mark.slow
@every_file
def test_fit_accepts_every_combination(path, parser, trials, agent, at_root):
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
                given = read(ROOT / value)
                if "class_path" in given.get("model", {}):
                    assert configs[0]["model"]["class_path"] == given["model"]["class_path"]
            elif str(value).endswith(".yaml"):
                expected = read(ROOT / value)["class_path"]
                assert look_up(configs[0], name)["class_path"] == expected
            else:
                expected = None if value == "null" else value
                assert str(look_up(configs[0], name)) == str(expected), name


def test_none_booleans_and_classes_are_parsed(parser, agent, at_root):
    """Values that the shipped files rarely use, in W&B's form."""
    values = {
        "model.channels_last": False,
        "model.loss": "lightning_colorize.losses.Huber",
        "model.loss.delta": 0.5,
        "model.scheduler": "null",
        "model.encoder.widths": [4, 8, 8],
        "data.augmentation.crop_scale": "null",
    }
    command = ["lightning-colorize", "fit", "--config", "experiments/quickstart.yaml", "${args}"]
    words = agent({"command": command}, values).command
    config = parser.parse_args(words[words.index("fit") + 1 :]).as_dict()
    assert look_up(config, "model.channels_last") is False
    assert look_up(config, "model.loss")["class_path"] == values["model.loss"]
    assert look_up(config, "model.loss.delta") == 0.5
    assert look_up(config, "model.scheduler") is None
    assert look_up(config, "model.encoder.widths") == [4, 8, 8]
    assert look_up(config, "data.augmentation.crop_scale") is None


@every_file
def test_the_header_states_the_trial_count(path):
    count = int(re.search(r"(\d+) trials", path.read_text())[1])
    assert count == read_sweep(path).trial_count
