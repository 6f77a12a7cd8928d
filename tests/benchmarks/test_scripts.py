"""The scripts of benchmarks/ at toy size, and the documents' tables against their results."""

import json
import os
import re
import warnings
from importlib import import_module
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import measure
from lightning_colorize.tasks import CGANTask
from tests.tasks.conftest import make_gan, one_batch, train  # noqa: F401

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def takes(monkeypatch):
    """Return a function that returns work of 8 images whose calls take these seconds."""
    now = 0.0

    def work_of(*seconds):
        durations = iter(seconds)

        def work():
            nonlocal now
            now += next(durations)
            return 8

        return work

    for clock in ("perf_counter", "monotonic"):
        monkeypatch.setattr(f"time.{clock}", lambda: now)
    return work_of


def test_warm_up_is_not_measured_and_every_repeat_has_at_least_one_call(takes):
    work = takes(100.0, 100.0, 1.0, 1.0, 5.0, 1.0, 1.0)
    timing = measure(work, seconds=6.0, repeats=3, warm_up=2)
    assert timing.seconds == [2.0, 5.0, 2.0]
    assert timing.images == [16, 8, 16]


def test_long_measurement_prints_every_half_minute(takes, capsys):
    measure(takes(*[20.0] * 5), seconds=100.0, repeats=1, warm_up=0)
    assert capsys.readouterr() == ("", "measuring: 40 of 100 s\nmeasuring: 80 of 100 s\n")


def test_generated_images_have_camera_like_size(tmp_path):
    for width, height in ((500, 375), (2000, 1500)):
        (file,) = write_images(tmp_path, 1, width, height)
        with Image.open(file) as image:
            assert image.size == (width, height)
            pixels = np.asarray(image.reduce(4), np.float32)
        assert np.ptp(pixels, axis=2).mean() > 10  # colorful
    assert 0.1 < file.stat().st_size / (2000 * 1500) < 0.5  # bytes a pixel


TOY = {
    "loader": ["--quick", "--pairs", "3", "--size", "192"],
    "shards": ["--quick", "--pairs", "3", "--size", "64"],
    "fit_overhead": ["--quick", "--pairs", "3", "--batch-size", "4"],
    "gan_step": [
        *("--quick", "--pairs", "3", "--batch-size", "4"),
        *("--model.encoder.width", "4", "--model.discriminator.width", "4"),
    ],
}


@pytest.mark.parametrize("name", TOY)
def test_scripts_that_time_two_ways(tmp_path, name):
    path = tmp_path / f"{name}.json"
    with mock.patch.dict(os.environ):
        import_module(name).main([*TOY[name], "--json", str(path)])
    report = json.loads(path.read_text())
    assert report["command"].startswith(f"python benchmarks/{name}.py --quick")
    assert report["environment"]["cpu_count"] == os.cpu_count()
    ratios = [row["ratio"] for row in report.get("rows", [])] or [{"fit/bare": report["ratio"]}]
    for summary in (summary for ratio in ratios for summary in ratio.values()):
        assert 0 < summary["low"] <= summary["median"] <= summary["high"]
    if "seconds_per_save" in report:
        share = report["seconds_per_save"]["median"] / 300
        with_checkpoints = report["ratio_with_checkpoints"]["median"] / report["ratio"]["median"]
        assert with_checkpoints == pytest.approx(1 + share, abs=0.01)
        assert "with one every 5 min" in import_module("tables").fit_overhead(report)
    for row in report.get("rows", []) if name == "loader" else []:
        # The notebook and the loader convert the same pixels to the same (L, ab).
        assert row["difference"]["lab_max"] < 0.01
        assert row["difference"]["pixels_mean"] < 2.0


def test_the_bare_gan_takes_the_same_steps(one_batch):  # noqa: F811
    task, bare = make_gan(), make_gan()
    batch = train(task, one_batch, max_steps=2).batches[0]
    training = import_module("gan_step").BareGAN(bare, torch.device("cpu"))
    for _ in range(2):
        training.step(batch)
    actual = bare.state_dict()
    for name, value in task.state_dict().items():
        torch.testing.assert_close(actual[name], value, msg=name)


def test_documents_match_results():
    tables = import_module("tables")
    for path in tables.DOCUMENTS:
        text = path.read_text()
        assert tables.missing(text) == []
        assert tables.render(text) == text, f"{path}: run python benchmarks/tables.py"
    page = (BENCHMARKS.parent / "docs" / "how-to" / "speed.md").read_text()
    for name in ("bench", "fit_overhead", "loader"):
        assert f"<!-- table: {name} -->\n\n| " in page


@pytest.mark.slow
def test_host_time_of_two_checkouts(tmp_path):
    path, words = tmp_path / "host.json", ["--before", str(BENCHMARKS.parent), "--quick"]
    import_module("host_step").main([*words, "--json", str(path)])
    systems = json.loads(path.read_text())["microseconds"]
    assert len(systems) == 2
    for parts in systems.values():
        for code in ("before", "after"):
            step, *rest = (found[code]["median"] for found in parts.values())
            assert 0 < step < 1e6
            assert max(rest) > 0


def at_toy_size(name, path):
    before = torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.benchmark
    with mock.patch.dict(os.environ):
        assert import_module(name).main(["--toy", "--json", str(path), "--minutes", "5"]) == 0
    assert (torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.benchmark) == before
    report = json.loads(path.read_text())
    assert report["command"].startswith(f"python benchmarks/{name}.py --toy")
    assert report["failed"] == {}
    return report


@pytest.mark.slow
def test_gpu_benchmark_at_toy_size(tmp_path, monkeypatch):
    """On a CPU, with the cGAN and few rows."""
    gpu, steps = import_module("gpu"), import_module("gpu_steps")
    rows = {name: steps.ROWS[name] for name in ("script", "+ benchmark", "captured")}
    for module in (gpu, steps):
        monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(gpu, "LATER", {"files": gpu.LATER["files"]})
    report = at_toy_size("gpu", tmp_path / "gpu.json")
    (system,) = report["systems"]
    assert system["bare"].keys() == {"script", "+ benchmark"}
    for row in system["bare"].values():
        assert len(row["raw"]) == 4
        assert row["milliseconds"]["low"] == min(row["raw"])
        found = row["profile"]
        assert found["kernels"] >= len(found["longest"]) == 25
        assert 0 < found["longest"][0][1] / 1000 < found["kernel_milliseconds"]
    rates = {name: run["images_per_second"] for name, run in system["fit"].items()}
    assert rates.keys() == {"default", "all", "files"}
    for name, run in system["fit"].items():
        assert rates[name] == pytest.approx(run["images"] / run["seconds"], rel=0.05)
        assert 0 <= run["data_wait_share"] <= 1
        assert run["waits"] == {"batches": 3, "count": 0, "places": []}
    ratios, script = system["ratios"], system["notebook"]["images_per_second"]
    assert ratios["all / notebook"] == rates["all"] / script
    best = min(row["milliseconds"]["median"] for row in system["bare"].values())
    assert ratios["default / best bare step"] == pytest.approx(rates["default"] * best / 2000)
    rendered = import_module("tables").gpu(report)
    assert "| pix2pix cGAN, 32 px, batch 2: + benchmark |" in rendered
    assert "captured (CUDA graphs need a GPU)" in rendered


def test_waits_of_a_benchmarked_fit_are_counted_with_their_place(tmp_path, monkeypatch):
    runs, step = import_module("gpu_runs"), CGANTask.training_step

    def wait(*args):  # as torch's sync debug mode says it, on a GPU
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        return step(*args)

    monkeypatch.setattr(CGANTask, "training_step", wait)
    photos = runs.make_images(tmp_path / "photos", toy=True)
    setup = runs.Setup(photos, tmp_path / "runs", torch.device("cpu"), toy=True)
    waits = runs.fit(runs.CGAN.toy(), setup, [])["waits"]
    assert (waits["batches"], waits["count"]) == (3, 3)
    assert waits["places"][0].startswith("benchmarks/test_scripts.py:")


@pytest.mark.slow
def test_gpu_checks_at_toy_size(tmp_path):
    """On a CPU, where all must agree exactly."""
    report = at_toy_size("gpu_checks", tmp_path / "checks.json")
    assert max(report["colors"].values()) < 1e-4
    assert report["two_processes"] == {"status": "finished", "images_seen": 24}
    assert report["resume"] == {"resumed": 0.0, "second_run": 0.0}
    assert report["decoding"].keys() == {"small", "camera"}
    assert "| resumed | 0.0e+00 |" in import_module("tables").gpu_checks(report)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu", "gpu_checks"])
def test_gpu_benchmarks_refuse_a_cpu(tmp_path, capsys, name):
    path = tmp_path / "gpu.json"
    assert import_module(name).main(["--json", str(path)]) == 2
    assert "there is no GPU here" in capsys.readouterr().err
    assert not path.exists()


def test_results_have_provenance_without_paths():
    for path in (BENCHMARKS / "results").glob("*.json"):
        text = path.read_text()
        report = json.loads(text)
        assert report["command"]
        assert {"git_commit", "versions", "cpu", "cpu_count"} <= set(report["environment"])
        assert not re.search("/(home|tmp|work)", text)


def test_probe_explains_what_features_know(tmp_path, capsys):
    from probe import Cells, fit

    torch.manual_seed(0)
    features, hidden = torch.randn(600, 12), torch.randn(600, 2)
    colors = features[:, :2] * 3 + hidden * 3 + 20  # half of the variance
    splits = [Cells(features[i : i + 200], colors[i : i + 200]) for i in (0, 200, 400)]
    found = fit(*splits)
    assert found["r2"] == pytest.approx(0.5, abs=0.1)
    assert found["correlation"] == pytest.approx(0.5**0.5, abs=0.07)
    unknown = fit(*(Cells(torch.randn(200, 12), split.colors) for split in splits))
    assert unknown["r2"] < 0.05

    encoders = tmp_path / "encoders.yaml"
    conv = "lightning_colorize.networks.ConvEncoder"
    encoders.write_text(f"small: {{class_path: {conv}, init_args: {{widths: [2, 3, 4]}}}}\n")
    (tmp_path / "photos").mkdir()
    write_images(tmp_path / "photos", 40, 60, 40)
    words = ("--data", str(tmp_path / "photos"), "--size", "32", "--encoders", str(encoders))
    out = tmp_path / "probe.json"
    import_module("probe").main([*words, "--images", "32", "--json", str(out)])
    (row,) = json.loads(out.read_text())["encoders"]
    assert (row["encoder"], row["size"], row["features"]) == ("small", 32, 2 * (3 + 4))
    assert row["images_per_second"] > 0
    assert row["r2"] < 1
