"""Comparison with W&B's own package `sweeps`."""

import random
import warnings
from copy import deepcopy
from itertools import product

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial
from scipy.stats import ks_2samp

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.space import combination
from lightning_colorize.sweeps.spec import parse_sweep

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is written for pydantic 1
    from sweeps.grid_search import grid_search_next_runs
    from sweeps.params import HyperParameter

    from sweeps import next_runs, schema_violations_from_proposed_config

optuna.logging.set_verbosity(optuna.logging.ERROR)

DISTRIBUTIONS = [
    {"values": [3, 1, 2]},
    {"values": [1, 2, 3, 4], "probabilities": [0.1, 0.2, 0.0, 0.7]},
    {
        "values": [7, 5],
        "probabilities": [0.75, 0.25],
        "distribution": "categorical_w_probabilities",
    },
    {"min": -3, "max": 11},
    {"min": -3.0, "max": 11},
    {"min": 1, "max": 4, "distribution": "uniform"},
    {"min": 2, "max": 17, "distribution": "q_uniform"},
    {"min": 2, "max": 17, "q": 4, "distribution": "q_uniform"},
    {"min": 0.1, "max": 0.9, "q": 0.05, "distribution": "q_uniform"},
    {"min": -9, "max": -2, "distribution": "log_uniform"},
    {"min": 0.0001, "max": 0.1, "distribution": "log_uniform_values"},
    {"min": 1, "max": 6, "q": 8, "distribution": "q_log_uniform"},
    {"min": 8, "max": 512, "q": 8, "distribution": "q_log_uniform_values"},
    {"min": 0.01, "max": 3, "q": 0.25, "distribution": "q_log_uniform_values"},
    {"distribution": "normal"},
    {"distribution": "normal", "mu": 3, "sigma": 0.2},
    {"distribution": "q_normal", "mu": 30, "sigma": 20, "q": 10},
    {"distribution": "log_normal", "mu": -5, "sigma": 1.5},
]


def ours(parameter):
    mapping = {"method": "random", "program": "t", "parameters": {"x": parameter}}
    return parse_sweep(mapping, "s.yaml").parameters["x"]


def wandbs(parameter, shares):
    """Return W&B's quantiles; those of probabilities one by one, since many at once are wrong."""
    theirs = HyperParameter("x", parameter)
    if "probabilities" in parameter:
        return np.asarray([theirs.ppf(share) for share in shares.tolist()])
    return np.asarray(theirs.ppf(shares))


def name_of(parameter):
    return parameter.get("distribution", "-".join(parameter))


@pytest.mark.parametrize("parameter", DISTRIBUTIONS, ids=name_of)
def test_draws_match_wandb(parameter):
    # No share at which a discrete distribution jumps.
    expected = wandbs(parameter, (np.arange(997) + 0.5) / 997)
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    drawn = [ours(parameter).suggest("x", study.ask()) for _ in range(600)]
    assert np.asarray(drawn).dtype.kind == expected.dtype.kind
    assert ks_2samp(drawn, expected).pvalue > 0.01


def test_q_log_normal_is_as_documented():
    # round(X / q) * q with X log-normal; `sweeps` 0.3 draws X normal, but its CDF is correct.
    parameter = {"distribution": "q_log_normal", "mu": 1, "sigma": 0.5, "q": 0.001}
    shares = (np.arange(97) + 0.5) / 97
    actual = [ours(parameter).suggest("x", FixedTrial({"x": share})) for share in shares]
    np.testing.assert_allclose(HyperParameter("x", parameter).cdf(actual), shares, atol=2e-3)


def random_parameter(rng):
    """Return a parameter that is valid about every third time."""
    numbers = [0, 1, 2, 3, 10, -1, 0.5, 0.001, 2.0, "1e-2", "a", None, True, 1e300, [1]]
    lists = [[], [1], [1, 2], ["a", "b"], [0.5, 0.5], [0.3, 0.3], [True, None], "ab", 3]
    pools = {
        "value": [*numbers, "x"],
        "values": lists,
        "probabilities": lists,
        **dict.fromkeys(("min", "max", "mu", "sigma", "q", "a", "b"), numbers),
        "typo": [1],
    }
    shapes = [("value",), ("values",), ("values", "probabilities"), ("min", "max"), ("mu", "sigma")]
    shapes += [("min", "max", "q"), ("mu", "sigma", "q"), ("a", "b"), ()]
    names = ["constant", "categorical", "categorical_w_probabilities", "int_uniform", "uniform"]
    names += ["q_uniform", "log_uniform_values", "q_log_uniform_values", "normal", "q_normal"]
    names += ["log_normal", "q_log_normal", "beta", "inv_log_uniform_values", "unknown", 3, None]
    keys = [key for key in rng.choice(shapes) if rng.random() < 0.9]
    if rng.random() < 0.1:
        keys.append(rng.choice(list(pools)))
    parameter = {key: rng.choice(pools[key]) for key in keys}
    if rng.random() < 0.6:
        parameter["distribution"] = rng.choice(names)
    return parameter


# Where we are stricter than W&B, in the words of the message.
STRICTER = ("'beta' is not known", "'inv_log_uniform_values' is not known", "appears twice")
STRICTER += ("is text to YAML", "sigma: 0 should be greater than 0")


def refuses(mapping):
    try:
        parse_sweep(mapping, "s.yaml")
    except UsageError as error:
        return str(error)
    return None


def wandb_refuses(mapping):
    try:
        return bool(schema_violations_from_proposed_config(mapping))
    except Exception:
        return True


def test_parameters_that_wandb_refuses_are_refused_and_few_others():
    rng = random.Random(5)
    valid = 0
    for _ in range(300):
        parameter = random_parameter(rng)
        mapping = {"method": "random", "program": "x", "parameters": {"x": parameter}}
        error = refuses(mapping)
        if wandb_refuses(mapping):
            assert error, parameter
        else:
            valid += error is None
            assert error is None or any(words in error for words in STRICTER), (parameter, error)
    assert valid > 25


@pytest.mark.parametrize(
    "parameters",
    [
        {"b": {"values": ["x", "y"]}, "a": {"values": [1, "1", None, 2.0]}, "c": {"value": 3}},
        {"z.y": {"min": 3, "max": 5}, "z": {"values": [[1], {"k": [2]}]}},
        {"q": {"min": 1, "max": 10, "q": 3, "distribution": "q_uniform"}, "p": {"values": [1]}},
        {"q": {"min": 0, "max": 1, "q": 0.1, "distribution": "q_uniform"}},
        {"q": {"min": 0, "max": 3, "distribution": "q_uniform"}, "a": {"min": 0, "max": 1}},
    ],
)
def test_grid_order_matches_wandb(parameters):
    mapping = {"method": "grid", "program": "x", "parameters": parameters}
    sweep = parse_sweep(mapping, "s.yaml")
    *runs, end = grid_search_next_runs([], mapping, n=sweep.trial_count + 1)
    assert end is None
    theirs = [{name: entry["value"] for name, entry in run.config.items()} for run in runs]
    trials = [FixedTrial(combination(sweep.parameters, k)) for k in range(sweep.trial_count)]
    actual = [{name: p.suggest(name, t) for name, p in sweep.parameters.items()} for t in trials]
    # In text, as on the command line, where 1 and 1.0 differ.
    assert [sorted(map(str, each.items())) for each in actual] == [
        sorted(map(str, each.items())) for each in theirs
    ]


def dotted(config, prefix=""):
    """Return W&B's values of nested parameters under dotted names."""
    if not isinstance(config, dict):
        return {prefix: config}
    names = ((f"{prefix}.{key}" if prefix else key, value) for key, value in config.items())
    return {key: value for name, inner in names for key, value in dotted(inner, name).items()}


def test_nested_parameters_are_read_as_wandb_does():
    optimizer = {"lr": {"values": [0.1, 0.2]}, "eps": {"value": 3}}
    nested = {"optimizer": {"parameters": optimizer}, "depth": {"values": [1, 2]}}
    parameters = {"model": {"parameters": nested}, "size": {"values": [32, 64]}}
    mapping = {"method": "random", "program": "x", "parameters": parameters}
    assert not wandb_refuses(mapping)
    sweep = parse_sweep(mapping, "s.yaml")
    np.random.seed(1)  # W&B's
    drawn = next_runs(deepcopy(mapping), [], n=40)
    runs = [{name: entry["value"] for name, entry in run.config.items()} for run in drawn]
    theirs = {tuple(sorted(dotted(run).items())) for run in runs}
    assert len(theirs) == 8
    names = sorted(sweep.parameters)
    choices = [sweep.parameters[name].choices for name in names]
    assert {tuple(zip(names, values, strict=True)) for values in product(*choices)} == theirs
