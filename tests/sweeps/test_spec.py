"""Sweep files: what is read from them, and the one line that refuses each mistake."""

import pytest
import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.fields import not_a_number
from lightning_colorize.sweeps.hyperband import Hyperband
from lightning_colorize.sweeps.space import Categorical, Constant, LogUniform, Uniform
from lightning_colorize.sweeps.spec import Metric, parse_sweep, read_sweep

SOUND = """
name: encoders
description: what W&B shows
project: colorize
method: bayes
metric: {name: val/psnr, goal: maximize}
run_cap: 12
early_terminate: {type: hyperband, min_iter: 2, eta: 2, strict: false}
command: ["${env}", lightning-colorize, fit, --config, experiments/base.yaml, "${args}"]
parameters:
  model.optimizer.lr: {distribution: log_uniform_values, min: 0.0001, max: 0.01}
  model.loss: {values: [experiments/loss/l1.yaml, experiments/loss/mse.yaml]}
  model.dropout: {min: 0.0, max: 0.5}
  trainer.max_epochs: {value: 4}
"""


def sound(**changes):
    """Return the sound file's mapping with top-level keys changed, or left out (None)."""
    mapping = yaml.safe_load(SOUND)
    mapping.update(changes)
    return {key: value for key, value in mapping.items() if value is not None}


def refusal(mapping):
    with pytest.raises(UsageError) as caught:
        parse_sweep(mapping, "s.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("s.yaml: ")
    return message.removeprefix("s.yaml: ")


def test_a_complete_file(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(SOUND)
    sweep = read_sweep(path)
    assert sweep.name == "encoders"
    assert sweep.method == "bayes"
    assert sweep.metric == Metric(name="val/psnr", goal="maximize")
    assert sweep.run_cap == 12
    assert sweep.program is None
    assert sweep.command[1:3] == ("lightning-colorize", "fit")
    assert sweep.early_terminate.bands[:4] == (2, 4, 8, 16)
    assert (sweep.early_terminate.eta, sweep.early_terminate.strict) == (2, False)
    assert list(sweep.parameters.items()) == [
        ("model.optimizer.lr", LogUniform(0.0001, 0.01)),
        ("model.loss", Categorical(("experiments/loss/l1.yaml", "experiments/loss/mse.yaml"))),
        ("model.dropout", Uniform(0.0, 0.5)),
        ("trainer.max_epochs", Constant(4)),
    ]
    assert sweep.source == yaml.safe_load(SOUND)


def test_defaults_match_wandb():
    mapping = {
        "method": "random",
        "program": "train.py",
        "metric": {"name": "val/loss"},
        "parameters": {"a": {"value": 1}},
    }
    sweep = parse_sweep(mapping, "folder/of/encoders.yaml")
    assert sweep.name == "encoders"
    assert sweep.metric == Metric(name="val/loss", goal="minimize")
    assert sweep.command == ("${env}", "${interpreter}", "${program}", "${args}")
    assert (sweep.program, sweep.run_cap, sweep.early_terminate) == ("train.py", None, None)


def test_the_source_is_a_copy():
    mapping = sound()
    sweep = parse_sweep(mapping, "s.yaml")
    mapping["parameters"]["model.loss"]["values"].append("x")
    assert sweep.source == yaml.safe_load(SOUND)


def test_random_and_grid_need_no_metric():
    listed = {"a": {"values": [1, 2]}}
    for method in ("grid", "random"):
        mapping = sound(method=method, metric=None, early_terminate=None, parameters=listed)
        assert parse_sweep(mapping, "s.yaml").metric is None


def test_kind_and_cloud_controller_are_accepted():
    parse_sweep(sound(kind="sweep", apiVersion="v1", controller={"type": "cloud"}), "s.yaml")


def test_hyperband_from_max_iter():
    rule = {"type": "hyperband", "max_iter": 27, "s": 2}
    assert parse_sweep(sound(early_terminate=rule), "s").early_terminate == Hyperband(
        (3, 9), 3, True
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metod": "grid"}, "metod: unknown key; did you mean method?"),
        ({"method": None}, "method: missing; write `method: grid`"),
        ({"method": "hyperopt"}, "method: 'hyperopt' is not known; write one of grid, random"),
        ({"name": "a/b"}, "name: 'a/b' becomes a folder's name"),
        ({"name": ".."}, "name: '..' becomes a folder's name"),
        ({"name": 3}, "name: 3 is not text"),
        ({"name": "é" * 101}, "name: 'ééé"),
        ({"kind": "job"}, "kind: 'job' is not known"),
        ({"controller": {"type": "local"}}, "controller.type: is for `wandb controller`"),
        ({"controller": {"type": "elsewhere"}}, "controller.type: 'elsewhere' is not known"),
        ({"controller": {}}, "controller: is empty"),
        ({"job": "a/b/c:v0"}, "job: W&B Launch has no counterpart here; write `command:`"),
        ({"scheduler": {"engine": "optuna"}}, "scheduler: this engine has its own"),
        ({"metrics": []}, "metrics: a sweep has one objective here"),
        ({"run_cap": 0}, "run_cap: 0 is too small; write 1 or more"),
        ({"run_cap": 2.5}, "run_cap: 2.5 is not an integer"),
        ({"run_cap": True}, "run_cap: True is not a number"),
        ({"run_cap": "12"}, "run_cap: '12' is text to YAML, not a number; write 12"),
        ({"metric": None}, "metric: missing, and method: bayes needs it"),
        ({"metric": None, "method": "random"}, "metric: missing, and early_terminate needs it"),
        ({"metric": "val/psnr"}, "metric: 'val/psnr' is not a mapping"),
        ({"metric": {"goal": "maximize"}}, "metric.name: missing"),
        ({"metric": {"name": "val/psnr"}}, "metric.goal: missing, so minimize; for val/psnr"),
        ({"metric": {"name": "a", "goal": "max"}}, "metric.goal: 'max' is not known; write one of"),
        ({"metric": {"name": "a", "gaol": "maximize"}}, "metric.gaol: unknown key; did you mean g"),
        ({"metric": {"name": "a", "target": 30}}, "metric.target: a sweep does not end at a value"),
        ({"metric": {"name": "a", "impute": "best"}}, "metric.impute: a failed trial has no value"),
        ({"parameters": None}, "parameters: missing"),
        ({"parameters": {}}, "parameters: is empty"),
        ({"parameters": [1]}, "parameters: [1] is not a mapping"),
        ({"parameters": {3: {"value": 1}}}, "parameters: the key 3 is not text"),
        ({"parameters": {"a b": {"value": 1}}}, "parameters.a b: W&B takes letters, digits"),
        ({"parameters": {"lr": 0.1}}, "parameters.lr: not a mapping; write `value: 0.1` below it"),
        (
            {"parameters": {"lr": [1, 2]}},
            "parameters.lr: not a mapping; write `values: [1, 2]`",
        ),
        ({"parameters": {"lr": {}}}, "parameters.lr: is empty"),
    ],
)
def test_an_error_names_the_key_in_one_line(changes, message):
    assert refusal(sound(**changes)).startswith(message)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "early_terminate: is empty"),
        ({"min_iter": 2}, "early_terminate.type: missing; write `type: hyperband`"),
        ({"type": "median"}, "early_terminate.type: 'median' is not known; write one of hyperband"),
        ({"type": "hyperband"}, "early_terminate.max_iter: missing; write min_iter, or max_iter"),
        ({"type": "hyperband", "max_iter": 9}, "early_terminate.s: missing"),
        ({"type": "hyperband", "max_iter": 9, "s": 0}, "early_terminate.s: 0 is too small"),
        (
            {"type": "hyperband", "max_iter": 9, "s": 1.5},
            "early_terminate.s: 1.5 is not an",
        ),
        (
            {"type": "hyperband", "max_iter": 2, "s": 2},
            "early_terminate.max_iter: 2 / eta is below",
        ),
        ({"type": "hyperband", "min_iter": 0}, "early_terminate.min_iter: 0 is too small"),
        ({"type": "hyperband", "min_iter": "1"}, "early_terminate.min_iter: '1' is text"),
        ({"type": "hyperband", "min_iter": 1, "eta": 1}, "early_terminate.eta: 1 is not above 1"),
        ({"type": "hyperband", "min_iter": 1, "s": 2}, "early_terminate.s: conflicts with"),
        ({"type": "hyperband", "min_iter": 1, "strict": "no"}, "early_terminate.strict: 'no' is"),
        ({"type": "hyperband", "miniter": 1}, "early_terminate.miniter: unknown key; did you mean"),
    ],
)
def test_wrong_early_terminate_is_refused(rule, message):
    assert refusal(sound(early_terminate=rule)).startswith(message)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"min": 1, "max": 0}, "min: 1 is above max 0; swap them"),
        ({"min": 2.0, "max": 2.0}, "min: 2.0 is max too; write `value: 2.0` alone"),
        ({"min": 1}, "max: missing"),
        ({"max": 1}, "min: missing"),
        ({"min": None, "max": 1}, "min: null is not a number"),
        ({"min": float("nan"), "max": 1.0}, "min: nan is not finite"),
        ({"min": 0.0, "max": float("inf")}, "max: inf is not finite"),
        ({"min": "1e-4", "max": 1}, "min: '1e-4' is text to YAML, not a number; write 0.0001"),
        ({"min": 0.1, "max": "1e5"}, "max: '1e5' is text to YAML, not a number; write 1000"),
        ({"min": "small", "max": 1}, "min: 'small' is text, not a number; write one such as"),
        ({"values": [0.1, "1e-2"]}, "values[1]: '1e-2' is text to YAML"),
        ({"values": [{"lr": ["1e-2"]}]}, "values[0].lr[0]: '1e-2' is text"),
        ({"values": []}, "values: [] is not a list of values"),
        ({"values": [1, 2, 1]}, "values[2]: 1 appears twice"),
        ({"values": [{1: 2}]}, "values[0]: the key 1 is not text"),
        ({"values": [1.5, float("inf")]}, "values[1]: inf is not finite"),
        ({"values": [yaml.safe_load("2024-01-01")]}, "values[0]: datetime.date(2024, 1, 1) is a"),
        ({"values": [1, 2], "probabilities": [1]}, "probabilities: write a list of 2"),
        ({"values": [1, 2], "probabilities": [0.6, 0.6]}, "probabilities: sum to 1.2"),
        ({"values": [1, 2], "probabilities": [1.5, -0.5]}, "probabilities: sum to 1; write none b"),
        ({"values": [1, 2], "probabilities": ["1e-1", 0.9]}, "probabilities[0]: '1e-1' is text"),
        ({"values": [1, 2], "probabilities": [0.5, 0.5], "distribution": "categorical"},
         "probabilities: does not go with categorical"),
        ({"values": [1], "distribution": "categorical_w_probabilities"}, "probabilities: missing"),
        ({"value": 1, "values": [1]}, "values: does not go with constant, which takes value"),
        ({"value": 1, "distribution": "categorical"}, "value: does not go with categorical"),
        ({"min": 0, "max": 1, "q": 1}, "q: does not go with int_uniform"),
        ({"distribution": "gaussian"}, "distribution: 'gaussian' is not known; write one of const"),
        ({"distribution": "beta"}, "distribution: beta has no counterpart here; write uniform, or"),
        ({"distribution": "inv_log_uniform", "min": 0, "max": 1}, "distribution: inv_log_uniform"),
        ({"distribution": "int_uniform", "min": 0.0, "max": 3}, "min: 0.0 is not an integer"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "min: 0 has no logarithm"),
        ({"distribution": "log_uniform", "min": 1, "max": 1000}, "min and max of this"),
        ({"distribution": "normal", "sigma": 0}, "sigma: 0 is not above 0"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": -1}, "q: -1 is not above 0"),
        ({"distribution": "normal", "std": 1}, "std: unknown key"),
        ({"mu": 1, "sigma": 1}, "has no values"),
        ({"parameters": {"b": {"value": 1}, "c": {"value": 2}}},
         "parameters: nested; write the dotted names instead: `x.b:`, `x.c:`"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(parameter, message):
    separator = ": " if message.startswith(("min and max", "has no values")) else "."
    mapping = sound(parameters={"ok": {"value": 1}, "x": parameter})
    assert refusal(mapping).startswith(f"parameters.x{separator}{message}")


@pytest.mark.parametrize(
    "parameter",
    [
        {"min": 0.0, "max": 1.0},
        {"distribution": "log_uniform_values", "min": 1, "max": 2},
        {"distribution": "normal"},
        {"values": [1, 2], "probabilities": [0.5, 0.5]},
        {"min": 0, "max": 2_000_000_000},
        {"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-9},
    ],
)
def test_a_grid_needs_listed_values(parameter):
    mapping = sound(method="grid", parameters={"x": parameter})
    assert refusal(mapping).startswith("parameters.x: ")


def test_each_wrong_key_has_a_line_of_its_own():
    parameters = {
        "a": {"min": 1, "max": 0},
        "b": {"values": [1, 1], "probabilities": 3},
        "c": {"distribution": "beta", "typo": 1},
    }
    mapping = {"method": "all", "metric": {"nam": "x"}, "parameters": parameters, "run_cap": 0}
    with pytest.raises(UsageError) as caught:
        parse_sweep(mapping, "s.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        *("method", "metric.name", "metric.nam", "parameters.a.min", "parameters.b.values[1]"),
        *("parameters.b.probabilities", "parameters.c.distribution", "parameters.c.typo"),
        "run_cap",
    ]
    assert "parameters.b.probabilities: 3 is not a list; write `[a, b]`" in str(caught.value)


def test_a_key_that_is_not_text():
    assert refusal({1: 1, **sound()}) == "the key 1 is not text; put it in quotes"


@pytest.mark.parametrize("file", ["..yaml", ".hidden.yaml", f"{'a' * 201}.yaml"])
def test_the_file_name_must_be_a_valid_folder_name(file):
    unnamed = {key: value for key, value in sound().items() if key != "name"}
    with pytest.raises(UsageError, match=r"name: .* (becomes a folder's name|is too long)"):
        parse_sweep(unnamed, f"folder/{file}")
    assert parse_sweep({**unnamed, "name": "mine"}, f"folder/{file}").name == "mine"


@pytest.mark.parametrize("text", ["1e-2", "1e-05", "25e-7", "1e5", "1.0e20", ".5E9", "-3e-300"])
def test_the_suggested_spelling_is_read_as_the_number(text):
    assert yaml.safe_load(text) == text, "PyYAML has learnt YAML 1.2"
    written = not_a_number(text).rpartition("write ")[2]
    assert yaml.safe_load(written) == float(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: grid\nname: a\nmethod: random\n", "line 3: `method` appears twice; keep one"),
        ("parameters:\n  a: {value: 1}\n  b: {min: 1, min: 2}\n", "line 3: `min` appears twice"),
        ("parameters:\n\tlr: 1\n", "line 2: found character '\\t' that cannot start any token"),
        ("method: [grid\n", "line 2: expected ',' or ']'"),
        ("- grid\n", "not a mapping"),
        ("", "not a mapping"),
        ("name: \x01\n", "is not YAML (unacceptable character"),
        ("name: 2024-99-99\n", "is not YAML (month must be in 1..12"),
        (b"name: \xff\n", "is not UTF-8 text"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_files_that_are_not_sweep_files(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_merged_key_may_be_given_again(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        SOUND + "  a: &a {min: 1, max: 5}\n  b: &b {<<: *a, max: 9}\n  c: {<<: *b, min: 0}\n"
    )
    parameters = read_sweep(path).parameters
    assert (parameters["b"].high, parameters["c"].high) == (9, 9)
    assert (parameters["b"].low, parameters["c"].low) == (1, 0)
