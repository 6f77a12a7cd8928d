"""Parameters in Optuna; test_against_sweeps.py compares the distributions with W&B's own."""

import warnings

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.space import Parameter, combination
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
    parameter = Parameter(values=list(values))
    study = optuna.create_study(sampler=RandomSampler(0))
    seen = {}
    with warnings.catch_warnings():
        # Optuna warns of choices that it cannot store.
        warnings.simplefilter("error")
        for _ in range(40):
            value = parameter.suggest("x", study.ask())
            seen[repr(value)] = type(value)
        for trial in study.trials:
            parameter.suggest("x", trial)
    assert seen == {repr(value): type(value) for value in values}


def test_scalars_encode_themselves_in_optuna_and_a_constant_is_not_stored():
    trial = optuna.create_study(sampler=RandomSampler(0)).ask()
    assert Parameter(value=[1]).suggest("c", trial) == [1]
    assert {"x": Parameter(values=["a", 2, None]).suggest("x", trial)} == trial.params
    assert trial.distributions["x"].choices == ("a", 2, None)


def test_probabilities_may_sum_to_less_than_one_by_rounding():
    parameter = Parameter(values=list("abcdefghij"), probabilities=[0.1] * 10)
    assert parameter.suggest("x", FixedTrial({"x": 1 - 1e-6})) == "j"


@pytest.mark.parametrize(
    ("low", "q", "drawn", "expected"),
    [(0, 3, 5.4, "6"), (0, 3.0, 4.5, "6.0"), (-1, 5.0, -0.9, "0.0")],
)
def test_multiples_of_integer_steps_are_integers(low, q, drawn, expected):
    """Never -0.0, which would be another value on a command line."""
    parameter = Parameter(distribution="q_uniform", min=low, max=9, q=q)
    assert str(parameter.suggest("x", FixedTrial({"x": drawn}))) == expected


def test_a_large_grid_is_not_materialized():
    names = [f"p{index}" for index in range(30)]
    parameters = {name: {"values": [0, 1]} for name in names}
    source = {"method": "grid", "program": "t", "parameters": parameters}
    with pytest.raises(UsageError, match=r"a grid of 1,073,741,824 trials; write fewer values"):
        parse_sweep(source, "s.yaml")
    sweep = parse_sweep({**source, "run_cap": 3}, "s.yaml")
    assert sweep.trial_count == 3
    bits = "".join(str(bit) for _, bit in sorted(combination(sweep.parameters, 123456789).items()))
    assert int(bits, 2) == 123456789
