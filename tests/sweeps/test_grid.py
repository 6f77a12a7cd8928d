"""Grid sweeps: each combination once, numbered."""

from lightning_colorize.sweeps.space import combination
from lightning_colorize.sweeps.spec import parse_sweep


def grid(**parameters):
    return parse_sweep({"method": "grid", "program": "t", "parameters": parameters}, "s.yaml")


def test_every_combination_once_and_the_last_name_changes_fastest():
    sweep = grid(b={"values": ["x", None]}, c={"value": 7}, a={"min": 1, "max": 3})
    assert sweep.trial_count == 6
    found = [combination(sweep.parameters, number) for number in range(6)]
    assert [(each["a"], each["b"]) for each in found] == [
        *((1, "x"), (1, None), (2, "x")),
        *((2, None), (3, "x"), (3, None)),
    ]
    assert {each["c"] for each in found} == {7}
    assert list(found[0]) == ["b", "c", "a"]


def test_constants_alone_are_one_combination():
    assert grid(a={"value": 1}).trial_count == 1
    assert combination(grid(a={"value": 1}).parameters, 0) == {"a": 1}


def test_a_large_grid_is_not_made():
    names = [f"p{index}" for index in range(30)]
    sweep = grid(**{name: {"values": [0, 1]} for name in names})
    assert sweep.trial_count == 2**30
    bits = "".join(str(combination(sweep.parameters, 123456789)[name]) for name in sorted(names))
    assert int(bits, 2) == 123456789
