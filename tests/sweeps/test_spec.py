"""Sweep files: their content, and the one-line error of each mistake."""

import optuna
import pytest
import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.spec import SweepMetric, parse_sweep, read_sweep

VALID = """
name: encoders
description: shown by W&B
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


def valid(**changes):
    """Return the valid file's mapping with top-level keys changed, or left out (None)."""
    mapping = yaml.safe_load(VALID)
    mapping.update(changes)
    return {key: value for key, value in mapping.items() if value is not None}


def assert_refused(mapping, start, expected):
    """It is refused in one line that starts so, after the file's name, and contains a text."""
    with pytest.raises(UsageError) as caught:
        parse_sweep(mapping, "s.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"s.yaml: {start}: ")
    assert expected in message


def test_a_complete_file(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(VALID)
    sweep = read_sweep(path)
    assert (sweep.name, sweep.method, sweep.run_cap) == ("encoders", "bayes", 12)
    assert sweep.metric == SweepMetric(name="val/psnr", goal="maximize")
    assert sweep.command[1:3] == ("lightning-colorize", "fit")
    assert (sweep.early_terminate.eta, sweep.early_terminate.strict) == (2, False)
    assert [(name, each.distribution) for name, each in sweep.parameters.items()] == [
        ("model.optimizer.lr", "log_uniform_values"),
        ("model.loss", "categorical"),
        ("model.dropout", "uniform"),
        ("trainer.max_epochs", "constant"),
    ]
    assert sweep.source == yaml.safe_load(VALID)


def test_defaults_match_wandb():
    mapping = {
        "method": "random",
        "program": "train.py",
        "metric": {"name": "val/loss"},
        "parameters": {"a": {"value": 1}},
    }
    sweep = parse_sweep(mapping, "folder/of/encoders.yaml")
    assert sweep.name == "encoders"
    with pytest.raises(UsageError, match=r"name: .* becomes a folder's name"):
        parse_sweep(mapping, "folder/.hidden.yaml")
    assert sweep.metric == SweepMetric(name="val/loss", goal="minimize")
    assert sweep.command == ("${env}", "${interpreter}", "${program}", "${args}")
    assert (sweep.program, sweep.run_cap, sweep.early_terminate) == ("train.py", None, None)


def test_random_and_grid_need_no_metric():
    listed = {"a": {"values": [1, 2]}}
    for method in ("grid", "random"):
        mapping = valid(method=method, metric=None, early_terminate=None, parameters=listed)
        # The keys of W&B's own pages are accepted.
        mapping |= {"kind": "sweep", "apiVersion": "v1", "controller": {"type": "cloud"}}
        assert parse_sweep(mapping, "s.yaml").metric is None


def ending(**rule):
    return {"early_terminate": {"type": "hyperband", **rule}}


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        ({"metod": "grid"}, "metod", "Extra inputs are not permitted"),
        ({"method": None}, "method", "Field required"),
        ({"method": "hyperopt"}, "method", "should be 'grid', 'random' or 'bayes'"),
        ({"name": "a/b"}, "name", "'a/b' becomes a folder's name"),
        ({"name": ".."}, "name", "'..' becomes a folder's name"),
        ({"name": 3}, "name", "3 is not text"),
        ({"controller": {"type": "local"}}, "controller.type", "should be 'cloud'"),
        ({"job": "a/b/c:v0"}, "job", "Extra inputs are not permitted"),
        ({"run_cap": 0}, "run_cap", "should be greater than or equal to 1"),
        ({"metric": None}, "metric", "missing, and method: bayes needs it"),
        ({"metric": None, "method": "random"}, "metric", "missing, and early_terminate needs it"),
        ({"metric": "val/psnr"}, "metric", "should be a valid dictionary"),
        ({"metric": {"goal": "maximize"}}, "metric.name", "Field required"),
        ({"metric": {"name": "val/psnr"}}, "metric", "for val/psnr write `goal: maximize`"),
        ({"metric": {"name": "a", "gaol": "minimize"}}, "metric.gaol", "Extra inputs are not"),
        ({"parameters": {}}, "parameters", "at least 1 item"),
        ({"parameters": {3: {"value": 1}}}, "parameters[3]", "should be a valid string"),
        ({"parameters": {"a b": {"value": 1}}}, "parameters.a b", "write letters, digits"),
        ({"parameters": {"lr": 0.1}}, "parameters.lr", "write `value: 0.1` below it"),
        ({"parameters": {"lr": [1, 2]}}, "parameters.lr", "write `values: [1, 2]` below it"),
        ({"early_terminate": {"min_iter": 2}}, "early_terminate.type", "Field required"),
        (ending(), "early_terminate", "write min_iter, or max_iter and s"),
        (ending(min_iter=1, max_iter=9, s=2), "early_terminate", "write min_iter, or max_iter"),
        (ending(max_iter=2, s=2), "early_terminate", "max_iter 2 is below eta"),
        (ending(min_iter=1, eta=1), "early_terminate.eta", "should be greater than or"),
        (ending(min_iter=1, eta=2.5), "early_terminate.eta", "should be a multiple of 1"),
        (ending(miniter=1), "early_terminate.miniter", "Extra inputs are not permitted"),
        ({"command": "lightning-colorize fit ${args}"}, "command", "is not a list"),
        ({"command": ["x", None, "${args}"]}, "command", "None is not text"),
        ({"command": ["x", "${arg}"]}, "command", "${arg} is not a macro here; known are ${env}"),
        ({"command": ["x", "--all=${args}"]}, "command", "'--all=${args}': a macro stands alone"),
        ({"command": ["x", "--a b", "${args}"]}, "command", "write `- --a` and `- b`"),
        ({"command": ["x", "fit"]}, "command", "lacks the parameters"),
        ({"command": ["${program}", "${args}"]}, "program", "missing"),
    ],
)
def test_an_error_names_the_key_in_one_line(changes, key, expected):
    assert_refused(valid(**changes), key, expected)


@pytest.mark.parametrize("token", ["--title=a b", "cd ${HOME} && x", "a b", "-5", "${envvar:A}"])
def test_tokens_may_contain_spaces(token):
    assert parse_sweep(valid(command=["x", token, "${args}"]), "s").command[1] == token


@pytest.mark.parametrize(
    ("parameter", "key", "expected"),
    [
        ({"min": 1, "max": 0}, "x", "min 1 is not below max 0; write"),
        ({"min": 2.0, "max": 2.0}, "x", "write `value: 2.0` for one"),
        ({"min": 1}, "x", "max: missing"),
        ({"min": 0.0, "max": float("inf")}, "x.max", "inf is not a finite number"),
        ({"min": "1e-4", "max": 1}, "x.min", "'1e-4' is text to YAML, not a number; write 1.0e-4"),
        ({"values": [{"lr": ["1e-2"]}]}, "x.values", "'1e-2' is text to YAML"),
        ({"values": []}, "x.values", "[] is not a list of values"),
        ({"values": [1, 2, 1]}, "x.values", "1 appears twice"),
        ({"values": [{1: 2}]}, "x.values", "{1: 2} is a dict to YAML"),
        ({"values": [1.5, float("inf")]}, "x.values", "inf is not finite"),
        ({"values": [yaml.safe_load("2024-01-01")]}, "x.values", "is a date to YAML; quote it"),
        ({"values": [1, 2], "probabilities": [1]}, "x", "probabilities: write 2"),
        ({"values": [1, 2], "probabilities": [0.6, 0.6]}, "x", "that sum to 1"),
        ({"values": [1, 2], "probabilities": [1.5, -0.5]}, "x", "none below 0"),
        ({"value": 1, "values": [1]}, "x", "constant takes value; leave out values"),
        ({"min": 0, "max": 1, "q": 1}, "x", "int_uniform takes min, max; leave out q"),
        ({"distribution": "beta"}, "x", "distribution 'beta' is not known; write one of const"),
        ({"distribution": "log_uniform", "min": 1, "max": 1000}, "x", "write `log_uniform_values`"),
        ({"mu": 1, "sigma": 1}, "x", "has no values"),
        ({"parameters": {}}, "x", "has no values"),
        ({"parameters": {"b": {"value": 1}}, "min": 1}, "x", "leave out parameters"),
        ({"parameters": {"b": {"values": []}}}, "x.b.values", "[] is not a list of values"),
        ({"min": 0.0, "max": 1.0}, "x", "method grid needs listed values"),
        ({"values": [1, 2], "probabilities": [0.5, 0.5]}, "x", "method grid needs listed values"),
        ({"min": 0, "max": 2_000_000_000}, "x", "a grid of 2000000001 values; write fewer"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-9}, "x", "a grid of 1000000000"),
    ],
)
def test_wrong_parameters_are_refused(parameter, key, expected):
    method = "grid" if "grid" in expected else "bayes"
    mapping = valid(method=method, parameters={"ok": {"value": 1}, "x": parameter})
    assert_refused(mapping, f"parameters.{key}", expected)


def test_each_wrong_key_has_a_line_of_its_own():
    parameters = {
        "a": {"min": 1, "max": 0},
        "b": {"values": [1, 1], "probabilities": 3},
        "c": {"distribution": "beta"},
    }
    mapping = {"method": "all", "metric": {"nam": "x"}, "parameters": parameters, "run_cap": 0}
    with pytest.raises(UsageError) as caught:
        parse_sweep(mapping, "s.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        *("method", "metric.name", "metric.nam", "parameters.a", "parameters.b.values"),
        *("parameters.b.probabilities", "parameters.c", "run_cap"),
    ]


def test_nested_parameters_have_dotted_names():
    optimizer = {"lr": {"values": [0.1, 0.2]}, "init_args.betas": {"value": [0.9, 0.999]}}
    nested = {"optimizer": {"parameters": optimizer}, "loss": {"value": "l1.yaml"}}
    sweep = parse_sweep(
        valid(parameters={"model": {"parameters": nested}, "data.size": {"value": 64}}), "s.yaml"
    )
    expected = {
        "model.optimizer.lr": optimizer["lr"],
        "model.optimizer.init_args.betas": optimizer["init_args.betas"],
        "model.loss": nested["loss"],
        "data.size": {"value": 64},
    }
    # Also W&B receives these: its agent would write a dictionary on the command line.
    assert sweep.source["parameters"] == expected
    assert list(sweep.parameters) == list(expected)
    assert sweep.parameters["model.optimizer.lr"].values == (0.1, 0.2)
    twice = {"model.lr": {"value": 0.1}, "model": {"parameters": {"lr": {"value": 0.1}}}}
    assert_refused(valid(parameters=twice), "parameters.model.lr", "appears twice; keep one")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: grid\nname: a\nmethod: random\n", "line 3: `method` appears twice; keep one"),
        ("parameters:\n  a: {value: 1}\n  b: {min: 1, min: 2}\n", "line 3: `min` appears twice"),
        ("parameters:\n\tlr: 1\n", "line 2: found character that cannot start any token"),
        ("- grid\n", "not a mapping"),
        ("method: grid\nparameters: {a: {value: 1}}\n", "command: missing; copy it from"),
        ("name: 2024-99-99\n", "is not YAML (month must be in 1..12"),
        ("a: &a [*a]", "is not YAML (maximum recursion depth exceeded"),
        (b"name: \xff\n", "is not YAML ('utf-8' codec"),
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


@pytest.mark.parametrize(
    ("rule", "rungs"),
    [
        ({"min_iter": 3}, [3, 9, 27]),
        ({"min_iter": 2, "eta": 2}, [2, 4, 8]),
        # As W&B: max_iter / eta, / eta^2 and so on, s of them or fewer.
        ({"max_iter": 27, "s": 2}, [3, 9, 27]),
        ({"max_iter": 27, "s": 9}, [1, 3, 9]),
        ({"max_iter": 20, "s": 2, "eta": 2}, [5, 10, 20]),
    ],
)
def test_rungs_are_counted_in_validations(rule, rungs):
    pruner = parse_sweep(valid(**ending(**rule)), "s.yaml").pruner
    study = optuna.create_study(direction="maximize", pruner=pruner)
    ends = []
    for value in (9.0, 1.0):
        trial = study.ask()
        for step in range(1, rungs[-1] + 1):
            trial.report(value, step)
            if trial.should_prune():
                ends.append(step)
        study.tell(trial, value)
    # The worse trial is behind at each.
    assert ends == rungs


def test_a_merged_key_may_be_given_again(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        VALID + "  a: &a {min: 1, max: 5}\n  b: &b {<<: *a, max: 9}\n  c: {<<: *b, min: 0}\n"
    )
    parameters = read_sweep(path).parameters
    assert (parameters["b"].max, parameters["c"].max) == (9, 9)
    assert (parameters["b"].min, parameters["c"].min) == (1, 0)
