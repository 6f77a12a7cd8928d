"""Parameters in Optuna; test_against_sweeps.py compares the distributions with W&B's own."""

import warnings

import optuna
import pytest
from optuna.samplers import RandomSampler

from lightning_colorize.sweeps.space import (
    Categorical,
    CategoricalWithProbabilities,
    Constant,
    Quantized,
    Uniform,
    combination,
    quantile,
    suggest,
)
from lightning_colorize.sweeps.spec import parse_sweep

optuna.logging.set_verbosity(optuna.logging.ERROR)


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
            value = suggest(parameter, "x", study.ask())
            seen[repr(value)] = type(value)
        for trial in study.trials:
            suggest(parameter, "x", trial)
    assert seen == {repr(value): type(value) for value in values}


def test_scalars_encode_themselves_in_optuna_and_a_constant_is_not_stored():
    trial = optuna.create_study(sampler=RandomSampler(0)).ask()
    assert suggest(Constant([1]), "c", trial) == [1]
    assert {"x": suggest(Categorical(("a", 2, None)), "x", trial)} == trial.params
    assert trial.distributions["x"].choices == ("a", 2, None)


def test_probabilities_may_sum_to_less_than_one_by_rounding():
    parameter = CategoricalWithProbabilities(tuple("abcdefghij"), (0.1,) * 10)
    assert quantile(parameter, 1 - 1e-17) == "j"


def test_multiples_of_integer_steps_are_integers():
    assert quantile(Quantized(Uniform(0, 9), 3), 0.6) == 6
    assert isinstance(quantile(Quantized(Uniform(0, 9), 3), 0.5), int)
    assert isinstance(quantile(Quantized(Uniform(0, 9), 3.0), 0.5), float)
    # Never -0.0, which would be another value on a command line.
    assert str(quantile(Quantized(Uniform(-1, 9), 5.0), 0.01)) == "0.0"


def test_a_large_grid_is_not_materialized():
    names = [f"p{index}" for index in range(30)]
    parameters = {name: {"values": [0, 1]} for name in names}
    sweep = parse_sweep({"method": "grid", "program": "t", "parameters": parameters}, "s.yaml")
    assert sweep.trial_count == 2**30
    bits = "".join(str(bit) for _, bit in sorted(combination(sweep.parameters, 123456789).items()))
    assert int(bits, 2) == 123456789
