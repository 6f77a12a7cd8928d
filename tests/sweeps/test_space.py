"""Distributions: how they are inferred, and what Optuna is asked for."""

import warnings

import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler

from lightning_colorize.sweeps.space import (
    Categorical,
    CategoricalWithProbabilities,
    Constant,
    IntUniform,
    LogNormal,
    LogUniform,
    Normal,
    Quantized,
    Uniform,
    combination,
)
from lightning_colorize.sweeps.spec import parse_sweep

optuna.logging.set_verbosity(optuna.logging.ERROR)


def read(**parameter):
    mapping = {"method": "random", "program": "t", "parameters": {"x": parameter}}
    return parse_sweep(mapping, "s.yaml").parameters["x"]


def new_trial(sampler=None):
    return optuna.create_study(sampler=sampler or RandomSampler(0)).ask()


@pytest.mark.parametrize(
    ("parameter", "read_as"),
    [
        ({"value": None}, Constant(None)),
        ({"value": [1, 2]}, Constant([1, 2])),
        ({"distribution": "constant", "value": 3}, Constant(3)),
        ({"values": ["a", None]}, Categorical(("a", None))),
        ({"values": ["a", "b"], "probabilities": [1, 0]},
         CategoricalWithProbabilities(("a", "b"), (1, 0))),
        ({"min": 1, "max": 3}, IntUniform(1, 3)),
        ({"min": 1, "max": 3.0}, Uniform(1, 3)),
        ({"min": 1, "max": 3, "distribution": "uniform"}, Uniform(1, 3)),
        ({"min": 0, "max": 9, "q": 3, "distribution": "q_uniform"}, Quantized(Uniform(0, 9), 3)),
        ({"min": 0, "max": 9, "distribution": "q_uniform"}, Quantized(Uniform(0, 9), 1.0)),
        ({"min": 0.5, "max": 9, "distribution": "log_uniform_values"}, LogUniform(0.5, 9)),
        ({"distribution": "normal"}, Normal(0, 1)),
        ({"distribution": "log_normal", "mu": 2, "sigma": 3}, LogNormal(2, 3)),
        ({"distribution": "q_log_normal", "mu": 2, "q": 5}, Quantized(LogNormal(2, 1), 5)),
    ],
)  # fmt: skip
def test_parameters_are_read_as_distributions(parameter, read_as):
    assert read(**parameter) == read_as


@pytest.mark.parametrize(
    "values",
    [
        ("a", "b"),
        (1, 2.5, None, "null"),
        (True, False),
        # Equal in Python, different on a command line.
        (1, 1.0, True, "1"),
        (0, False, None, "None"),
        ([1, 2], [2, 1]),
        ({"a": 1, "b": None}, {"b": 1}, None, "x"),
    ],
)
def test_values_survive_optuna(values):
    parameter = Categorical(values)
    study = optuna.create_study(sampler=RandomSampler(0))
    seen = {}
    with warnings.catch_warnings():
        # Optuna warns of choices that it cannot store.
        warnings.simplefilter("error")
        for _ in range(40):
            value = parameter.suggest(study.ask(), "x")
            seen[repr(value)] = type(value)
        for trial in study.trials:
            parameter.suggest(trial, "x")
    assert seen == {repr(value): type(value) for value in values}


def test_scalars_encode_themselves_in_optuna():
    trial = new_trial()
    value = Categorical(("a", 2, None)).suggest(trial, "x")
    assert trial.params["x"] == value
    assert trial.distributions["x"].choices == ("a", 2, None)


def test_a_constant_is_not_stored_in_optuna():
    trial = new_trial()
    assert Constant([1]).suggest(trial, "x") == [1]
    assert trial.params == {}


@pytest.mark.parametrize(
    "parameter",
    [
        Categorical(([1], [2])),
        CategoricalWithProbabilities(("a", "b"), (0.9, 0.1)),
        IntUniform(3, 90),
        Uniform(0, 1),
        LogUniform(1e-5, 1e-1),
        Normal(3, 1),
        LogNormal(0, 1),
        Quantized(LogNormal(3, 1), 2),
    ],
)
def test_a_frozen_trial_returns_its_value(parameter):
    study = optuna.create_study(sampler=RandomSampler(1))
    first = parameter.suggest(study.ask(), "x")
    assert parameter.suggest(study.trials[0], "x") == first


def test_probabilities_may_sum_to_less_than_one_by_rounding():
    parameter = read(values=list("abcdefghij"), probabilities=[0.1] * 10)
    assert parameter.quantile(1 - 1e-17) == "j"


@pytest.mark.parametrize("parameter", [Normal(5, 2), Quantized(Normal(5, 2), 0.5)])
def test_tpe_can_search_a_normal_distribution(parameter):
    study = optuna.create_study(sampler=TPESampler(seed=0, n_startup_trials=8))
    for _ in range(30):
        trial = study.ask()
        study.tell(trial, (parameter.suggest(trial, "x") - 6) ** 2)
    assert parameter.suggest(study.best_trial, "x") == pytest.approx(6, abs=0.3)


def test_multiples_of_integer_steps_are_integers():
    assert Quantized(Uniform(0, 9), 3).quantile(0.6) == 6
    assert isinstance(Quantized(Uniform(0, 9), 3).quantile(0.5), int)
    assert isinstance(Quantized(Uniform(0, 9), 3.0).quantile(0.5), float)
    # Never -0.0, which would be another value on a command line.
    assert str(Quantized(Uniform(-1, 9), 5.0).quantile(0.01)) == "0.0"


def test_a_large_grid_is_not_materialized():
    names = [f"p{index}" for index in range(30)]
    parameters = {name: {"values": [0, 1]} for name in names}
    sweep = parse_sweep({"method": "grid", "program": "t", "parameters": parameters}, "s.yaml")
    assert sweep.trial_count == 2**30
    bits = "".join(str(bit) for _, bit in sorted(combination(sweep.parameters, 123456789).items()))
    assert int(bits, 2) == 123456789
