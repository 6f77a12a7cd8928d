"""Runs read from their folders, and the images of their best epochs."""

import json
from dataclasses import fields

import numpy as np
import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import lock
from lightning_colorize.runs.images import BestImage, read_best_images, write_best_images
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.runs.result import (
    RunResult,
    Validation,
    append_validation,
    read_validations,
)

NAN = float("nan")


def test_a_result_is_read_as_it_was_written(tmp_path):
    assert RunResult.read(tmp_path) is None
    result = RunResult(
        "finished",
        metrics={"val/psnr": 23.5, "val/ab_corr": None},
        baselines={"grey": {"val/psnr": 21.0}},
        epochs=3,
        seconds=4.25,
        versions={"torch": "2.11"},
        restarts=1,
    )
    result.write(tmp_path)
    assert RunResult.read(tmp_path) == result


def test_nan_is_written_as_null(tmp_path):
    RunResult("failed", metrics={"val/psnr": NAN}, best_metric=NAN).write(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    assert (content["metrics"], content["best_metric"]) == ({"val/psnr": None}, None)
    assert list(content) == [field.name for field in fields(RunResult)]


@pytest.mark.parametrize("text", ["{", "[1]", "", "{}"])
def test_a_broken_result_is_named(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UsageError, match=r"result\.json"):
        RunResult.read(tmp_path)
    record = RunRecord(tmp_path)
    assert (record.result, record.status, record.metrics) == (None, "unreadable", {})


def test_status_follows_the_files_and_the_lock(tmp_path):
    assert RunRecord(tmp_path).status == "killed"
    with lock(tmp_path):
        assert RunRecord(tmp_path).status == "running"
    RunResult("stopped_early").write(tmp_path)
    assert RunRecord(tmp_path).status == "stopped_early"
    with lock(tmp_path):
        assert RunRecord(tmp_path).status == "running"
    RunResult("running").write(tmp_path)
    assert RunRecord(tmp_path).status == "killed"


def test_curves_count_images_by_the_result(tmp_path):
    append_validation(tmp_path, 0, 5, {"val/psnr": 20.0})
    append_validation(tmp_path, 1, 10, {"val/psnr": NAN})
    append_validation(tmp_path, 2, 15, {"val/psnr": 22.0})
    record = RunRecord(tmp_path)
    assert record.curve("val/psnr") == [(1, 20.0), (3, 22.0)]
    assert record.curve("val/psnr", over_images=True) == record.curve("val/ssim") == []
    RunResult("finished", batches=30, images_seen=240).write(tmp_path)
    (tmp_path / "config.yaml").write_text("trainer: {accumulate_grad_batches: 2}")
    assert RunRecord(tmp_path).curve("val/psnr", over_images=True) == [(80, 20.0), (240, 22.0)]


def test_difference_from_grey(tmp_path):
    table = {"grey": {"val/psnr": 21.5, "val/ssim": None}}
    metrics = {"val/psnr": 23.0, "val/ssim": 0.9}
    RunResult("finished", metrics=metrics, baselines=table).write(tmp_path)
    record = RunRecord(tmp_path)
    assert record.minus_grey("val/psnr") == 1.5
    assert record.minus_grey("val/ssim") is None


def test_validations_are_read_as_they_are_written(tmp_path):
    assert read_validations(tmp_path) == []
    append_validation(tmp_path, 0, 10, {"val/psnr": 20.0})
    append_validation(tmp_path, 1, 20, {"val/psnr": NAN})
    with (tmp_path / "validations.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    first = Validation(0, 10, {"val/psnr": 20.0})
    assert read_validations(tmp_path) == [first, Validation(1, 20, {"val/psnr": None})]
    # Killed; the resumed run repeats the second validation.
    with (tmp_path / "validations.jsonl").open("a") as file:
        file.write("\n")
    append_validation(tmp_path, 1, 20, {"val/psnr": 21.0})
    assert read_validations(tmp_path) == [first, Validation(1, 20, {"val/psnr": 21.0})]


def test_a_configuration_that_cannot_be_read_is_missing(tmp_path):
    assert RunRecord(tmp_path).config_text is None
    (tmp_path / "config.yaml").write_bytes(b"a: \xff")
    assert RunRecord(tmp_path).config_text is None


_IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def test_best_images_replace_earlier_ones(tmp_path):
    assert read_best_images(tmp_path) == []
    names = ["ä/1.jpg", "x" * 300 + "/2.jpg", "ä_1.jpg"]
    for value in (9.0, 8.0):
        image = _IMAGE + np.uint8(value)
        write_best_images(tmp_path, [BestImage(name, image, value) for name in names])
    found = read_best_images(tmp_path)
    assert [image.name for image in found] == names
    for image in found:
        assert np.array_equal(image.row, _IMAGE + np.uint8(8))
        assert image.ciede2000 == 8.0
    assert len(list((tmp_path / "images" / "best").iterdir())) == 3
    # A resumed run may show fewer images.
    write_best_images(tmp_path, found[:1])
    assert [image.name for image in read_best_images(tmp_path)] == names[:1]
