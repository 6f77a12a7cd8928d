import json
import os

import numpy as np
import pytest

from lightning_colorize.benchmarking.stages import BenchStage, conclusion, default_workers
from lightning_colorize.benchmarking.timing import Timing
from lightning_colorize.commands import bench
from tests.conftest import write_images


@pytest.fixture
def photographs(tmp_path):
    write_images(tmp_path / "photos" / "inner", 6)
    return tmp_path / "photos"


@pytest.mark.slow
def test_every_stage_is_measured_and_the_slowest_is_named(command, photographs, tmp_path, capsys):
    path = tmp_path / "bench.json"
    words = ("--data", photographs, "--size", 32, "--batch-size", 4, "--seconds", 0.05)
    assert command("bench", *words, "--workers", 1, 0, "--device", "cpu", "--json", path) == 0
    out = capsys.readouterr().out.splitlines()
    report = json.loads(path.read_text())
    assert "6 images" in out[0]
    assert out[-1] == report["conclusion"]
    stages = report["stages"]
    others = ("memory", "lab", "augment", "step", "together")
    expected = [("loader", 0), ("loader", 1), *((other, None) for other in others)]
    assert [(s["stage"], s["workers"]) for s in stages] == expected
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
    assert report["command"].startswith("lightning-colorize bench --data photos ")
    assert str(tmp_path) not in path.read_text()
    assert "--batch-size 4 --workers 1 0 --seconds 0.05" in report["command"]


def test_images_are_generated_without_a_folder(command, capsys, monkeypatch):
    monkeypatch.setattr(bench, "_COUNT", 4)
    words = ("--size", 32, "--batch-size", 2, "--seconds", 0.01, "--workers", 0)
    assert command("bench", *words) == 0
    assert capsys.readouterr().out.startswith("4 JPEGs of 500 x 375, made from scikit-image's")


@pytest.mark.parametrize(
    ("loaded", "rates", "expected"),
    [
        (
            "memory",
            (900, 320, 640, 640, 64, 55),
            "The training step limits: 64 images/s; the cached loader is 5.0 times as fast, "
            "the conversion 10.0 times; all together 55 images/s",
        ),
        (
            "files, 2 workers",
            (100, 9000, 900, 800, 400, 95),
            "The loader (files, 2 workers) limits: 100 images/s; the training step is 4.0 times "
            "as fast, the conversion 8.0 times; all together 95 images/s",
        ),
    ],
)
def test_the_slowest_part_limits(loaded, rates, expected):
    kinds = ("loader", "memory", "lab", "augment", "step", "together")
    stages = [BenchStage(k, loaded, Timing([r], [1.0])) for k, r in zip(kinds, rates, strict=True)]
    assert conclusion(stages) == expected


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4, 6]), (8, [0, 1, 2, 4, 8])]
)
def test_workers_are_tried_up_to_the_cores(monkeypatch, cores, expected):
    monkeypatch.setattr("lightning_colorize.benchmarking.stages.cores", lambda: cores)
    assert default_workers() == expected
