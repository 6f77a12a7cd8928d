import numpy as np
import pytest
from comparison import Tolerance, changed_environment, compare_figures, compare_images
from PIL import Image
from pydantic import ValidationError


def _same(expected, measured, rules=None):
    rows = compare_figures({"figures": expected}, {"figures": measured}, rules or {})
    return {row.figure.removeprefix("figures/"): row.same for row in rows}


def test_without_a_rule_everything_must_be_equal():
    report = {"psnr": 22.0, "images": 4, "none": None, "flip": True, "name": "x", "groups": [["a"]]}
    # Equal numbers are listed, equal texts are not.
    assert _same(report, report) == {
        "psnr": True,
        "images": True,
        "groups/#": True,
        "groups/0/#": True,
    }
    changed = report | {"psnr": 22.000001, "none": 1.0, "flip": False, "groups": [["a", "b"]]}
    found = _same(report, changed)
    assert {name for name, same in found.items() if same is False} == {
        *("psnr", "none", "flip", "groups/0/#")
    }
    assert found["groups/0/1"] is None


def test_a_missing_figure_is_not_the_same_and_a_new_one_is_only_shown():
    assert _same({"psnr": 1.0, "ssim": 0.5}, {"psnr": 1.0, "mae": 3.0}) == {
        "psnr": True,
        "ssim": False,
        "mae": None,
    }
    # No rule excuses it, but that it may be missing.
    assert _same({"a": 1.0}, {"b": 1.0}, {"*": Tolerance(absolute=9)}) == {"a": False, "b": None}
    assert _same({"a": 1.0, "b": 1.0}, {"a": 1.0}, {"*/b": "ignored"}) == {"a": True}
    # A rate that is not a number any more is not within a factor of one.
    assert _same({"a": 1.0}, {"a": None}, {"*": Tolerance(factor=9)}) == {"a": False}


@pytest.mark.parametrize(
    ("tolerance", "expected", "accepted", "refused"),
    [
        ({"absolute": 0.25}, -1.0, (-1.25, -0.75), (-1.375, -0.625, 1.0)),
        ({"relative": 0.25}, -4.0, (-5.0, -3.0), (-5.125, -2.875, 4.0)),
        ({"factor": 2}, 4.0, (2.0, 8.0), (1.9, 8.1, 0.0, -4.0)),
    ],
)
def test_tolerances_include_their_ends(tolerance, expected, accepted, refused):
    rule = Tolerance(**tolerance)
    assert all(rule.accepts(expected, measured) for measured in accepted)
    assert not any(rule.accepts(expected, measured) for measured in refused)


@pytest.mark.parametrize("wrong", [{}, {"absolute": 1, "factor": 2}, {"factor": 0.5}])
def test_a_tolerance_is_one_of_three(wrong):
    with pytest.raises(ValidationError):
        Tolerance(**wrong)


def test_the_first_matching_rule_counts():
    rules = {"*/median": Tolerance(factor=2), "*/rows/*": "shown"}
    report = {"rows": [{"median": 1.0, "low": 1.0}]}
    found = _same(report, {"rows": [{"median": 1.9, "low": 7.0}]}, rules)
    assert found["rows/0/median"] is True
    assert found["rows/0/low"] is None


def test_items_are_compared_by_their_names_in_any_order():
    trials = [{"what": ["resnet", "l1"], "psnr": 22.0}, {"what": ["resnet", "mse"], "psnr": 23.0}]
    found = _same(trials, trials[::-1])
    assert found["resnet, mse/psnr"] is True
    assert all(found.values())
    # Names that are not unique are none.
    assert "0/psnr" in _same([{"name": "x", "psnr": 1}, {"name": "x", "psnr": 2}], [])


def test_images_are_compared_by_their_mean_difference(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    pixels = np.zeros((8, 8, 3), np.uint8)
    for folder, value in ((before, 0), (after, 3)):
        folder.mkdir()
        Image.fromarray(pixels + value).save(folder / "a.png")
        Image.fromarray(pixels[: 8 - value]).save(folder / "b.png")
    Image.fromarray(pixels).save(before / "c.png")
    rows = compare_images(before, after, {"a.png": 3, "b.png": 9, "c.png": 9})
    assert [(row.measured, row.same) for row in rows] == [
        ("3", True),
        ("another size", False),
        ("missing", False),
    ]
    assert not compare_images(before, after, {"a.png": 2.9})[0].same


def test_another_machine_is_named_and_another_commit_is_not():
    def report(**environment):
        return {"environment": {"git_commit": "a", "versions": {"torch": "1"}} | environment}

    assert changed_environment(report(), report(git_commit="b", load_average=[3])) == []
    assert changed_environment(report(cpu="x"), report(cpu="y", versions={"torch": "2"})) == [
        "versions/torch: 1, now 2",
        "cpu: x, now y",
    ]
    busy = report(cpu_count=2, load_average=[2.5, 1, 1])
    quiet = report(cpu_count=2, load_average=[0.5, 3, 3])
    assert changed_environment(quiet, busy) == ["load_average: 0.5, now 2.5"]
    assert changed_environment(busy, quiet) == []
