"""The baselines that the best of a sweep should beat."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_colorize.sweeps.spec import Metric
from lightning_colorize.sweeps.status import (
    EXPLAINED,
    TrialRow,
    leaderboard,
    not_beaten,
    read_baselines,
)

PSNR = Metric(name="val/psnr", goal="maximize")
ERROR = Metric(name="val/ciede2000", goal="minimize")
ROW = TrialRow(0, "finished", {"x": 1}, 22.0, 0, None, Path("folder"), 1.0, [])


def place(*rows, goal="maximize"):
    return leaderboard(rows, goal)[0]


def written(folder, result):
    text = result if isinstance(result, str) else json.dumps(result)
    (folder / "result.json").write_text(text)
    return place(replace(ROW, folder=folder))


def test_baselines_are_those_of_the_metric(tmp_path):
    of = {"grey": {"val/psnr": 20.0, "test/psnr": 21.0}, "lut": {"val/psnr": 22.5}}
    first = written(tmp_path, {"status": "finished", "baselines": of})
    assert read_baselines(first, PSNR) == {"grey": 20.0, "lut": 22.5}
    assert read_baselines(first, Metric(name="test/psnr", goal="maximize")) == {"grey": 21.0}
    assert read_baselines(first, Metric(name="val/loss", goal="minimize")) == {}


@pytest.mark.parametrize(
    "result",
    [
        {"status": "finished"},
        {"status": "finished", "baselines": {"grey": None}},
        {"status": "finished", "baselines": {"grey": {"val/psnr": None}}},
        "no JSON",
    ],
)
def test_a_run_without_baselines(tmp_path, result):
    assert read_baselines(written(tmp_path, result), PSNR) == {}


def test_a_missing_folder(tmp_path):
    assert read_baselines(place(replace(ROW, folder=tmp_path / "none")), PSNR) == {}


@pytest.mark.parametrize(
    ("metric", "baselines", "said"),
    [
        (PSNR, {}, None),
        (PSNR, {"grey": 20.0, "lut": 21.9}, None),
        (PSNR, {"grey": 22.5, "lut": 21.9}, "grey: val/psnr 22.00, grey 22.50"),
        # As good is not better.
        (PSNR, {"grey": 22.0}, "grey: val/psnr 22.00, grey 22.00"),
        (ERROR, {"grey": 23.0, "lut": 22.5}, None),
        (ERROR, {"grey": 23.0, "lut": 21.0}, "lut: val/ciede2000 22.00, lut 21.00"),
    ],
)
def test_the_best_is_to_beat_the_best_of_them(metric, baselines, said):
    first = place(ROW, goal=metric.goal)
    expected = said and f"the best trial does not beat {said}"
    assert not_beaten(first, metric, baselines) == expected


def test_over_seeds_it_is_the_mean_that_counts():
    rows = [
        replace(ROW, number=seed, value=value, values={"x": 1, "seed_everything": seed})
        for seed, value in enumerate([22.0, 24.0])
    ]
    said = not_beaten(place(*rows), PSNR, {"lut": 23.5})
    assert said == "the best configuration does not beat lut: val/psnr 23.00, lut 23.50"


def test_all_baselines_are_explained():
    from lightning_colorize.metrics import BASELINES

    assert list(EXPLAINED) == list(BASELINES)
