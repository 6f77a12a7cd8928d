"""Parameters in Optuna; test_against_sweeps.py compares the distributions with W&B's own."""

import warnings

import optuna
import pytest
from optuna.samplers import RandomSampler

from lightning_colorize.sweeps.space import (
    Categorical,
    Constant,
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


def test_probabilities_may_sum_to_less_than_one_by_rounding():
    parameter = read(values=list("abcdefghij"), probabilities=[0.1] * 10)
    assert parameter.quantile(1 - 1e-17) == "j"


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
