import argparse
import json
import os

import numpy as np
import pytest

from lightning_colorize.benchmarking.stages import BenchStage, conclusion, default_workers
from lightning_colorize.benchmarking.timing import Timing
from lightning_colorize.commands import bench
from tests.conftest import write_images


def _bench(*words):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return bench.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def photographs(tmp_path):
    write_images(tmp_path / "photos" / "inner", 6)
    return tmp_path / "photos"


@pytest.mark.slow
def test_every_stage_is_measured_and_the_slowest_is_named(photographs, tmp_path, capsys):
    path = tmp_path / "bench.json"
    words = ("--data", photographs, "--size", 32, "--batch-size", 4, "--seconds", 0.05)
    assert _bench(*words, "--workers", 1, 0, "--device", "cpu", "--json", path) == 0
    out = capsys.readouterr().out.splitlines()
    report = json.loads(path.read_text())
    assert "6 images" in out[0]
    assert out[-1] == report["conclusion"]
    stages = report["stages"]
    assert [(s["stage"], s["workers"]) for s in stages] == [
        ("loader", 0),
        ("loader", 1),
        ("memory", None),
        ("lab", None),
        ("augment", None),
        ("step", None),
        ("together", None),
    ]
    for stage, line in zip(stages, out[3:], strict=False):
        raw = stage["raw"]
        rates = np.divide(raw["images"], raw["seconds"])
        assert len(rates) == 5
        assert stage["images_per_second"]["median"] == pytest.approx(np.median(rates))
        assert f" {np.median(rates):.0f} " in line
    # No stage is slower than all together, except for noise.
    assert stages[-1]["images_per_second"]["low"] < 1.5 * max(
        s["images_per_second"]["high"] for s in stages if s["stage"] == "step"
    )
    assert report["environment"]["cpu_count"] == os.cpu_count()
    assert report["command"].startswith("lightning-colorize bench --data ")
    assert "--batch-size 4 --workers 1 0 --seconds 0.05" in report["command"]


def test_images_are_generated_without_a_folder(capsys, monkeypatch):
    monkeypatch.setattr(bench, "_COUNT", 4)
    assert _bench("--size", 32, "--batch-size", 2, "--seconds", 0.01, "--workers", 0) == 0
    assert capsys.readouterr().out.startswith("4 JPEGs of 500 x 375, made from scikit-image's")


def _stages(**rates):
    details = {"together": "memory"}
    return [
        BenchStage(kind, details.get(kind, kind), Timing([rate], [1.0]))
        for kind, rate in rates.items()
    ]


def test_the_slowest_part_limits():
    text = conclusion(_stages(loader=900, memory=320, lab=640, augment=640, step=64, together=55))
    assert text == (
        "The training step limits: 64 images/s; the cached loader is 5.0 times as fast, "
        "the conversion 10.0 times; all together 55 images/s"
    )


def test_images_that_do_not_fit_in_memory_come_from_files():
    stages = _stages(loader=100, memory=9000, lab=900, augment=800, step=400)
    stages.append(BenchStage("together", "files, 2 workers", Timing([95], [1.0])))
    text = conclusion(stages)
    assert text.startswith("The loader (files, 2 workers) limits: 100 images/s; the training ")
    assert "step is 4.0 times as fast, the conversion 8.0 times" in text


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4, 6]), (8, [0, 1, 2, 4, 8])]
)
def test_workers_are_tried_up_to_the_cores(monkeypatch, cores, expected):
    monkeypatch.setattr("lightning_colorize.benchmarking.stages.cores", lambda: cores)
    assert default_workers() == expected
