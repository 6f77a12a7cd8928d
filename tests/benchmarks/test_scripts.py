"""The scripts of benchmarks/ at toy size, and the documents' tables against their results."""

import io
import json
import os
import re
import shlex
import statistics
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from common import command_of
from comparison import figures, find_rule
from PIL import Image
from reproduce import Reproduction, names, read_data_sets

from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import measure
from tests.tasks.conftest import make_gan, one_batch, train  # noqa: F401

CLONE = Path(__file__).parents[2]
BENCHMARKS = CLONE / "benchmarks"


def _near(summary, values):
    assert summary["median"] == pytest.approx(statistics.median(values))
    assert (summary["low"], summary["high"]) == pytest.approx((min(values), max(values)))


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


def _report(name, folder, *words):
    """Run a script at toy size and return its report, with its origin and ratios checked."""
    path = folder / f"{name}.json"
    with mock.patch.dict(os.environ):
        import_module(name).main(["--quick", "--pairs", "3", *words, "--json", str(path)])
    report = json.loads(path.read_text())
    assert report["command"].startswith(f"python benchmarks/{name}.py --quick")
    where = report["environment"]
    assert where["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert where["cpu_count"] == os.cpu_count()
    assert where["cpu"]
    for row in report.get("rows", []):
        # The ratios of a row are those of its raw times, round by round.
        raw = {name: way["raw"] for name, way in row["ways"].items()}
        rates = {name: np.divide(r["images"], r["seconds"]) for name, r in raw.items()}
        assert row["ratio"]
        for ratio, summary in row["ratio"].items():
            ours, theirs = ratio.split("/")
            assert len(rates[ours]) == 3
            _near(summary, list(rates[ours] / rates[theirs]))
    return report


def test_loader_benchmark(tmp_path, capsys):
    threads = torch.get_num_threads()
    report = _report("loader", tmp_path, "--size", "192")
    assert torch.get_num_threads() == threads
    for row in report["rows"]:
        assert set(row["ways"]) == {"uint8", "lab", "decode", "notebook", "notebook_bilinear"}
        # Both ways convert the same pixels to the same (L, ab).
        assert row["difference"]["lab_max"] < 0.01
        assert row["difference"]["pixels_mean"] < 2.0
        assert row["ratio"]["uint8/notebook"]["median"] > 1.0
    assert report["rows"][0]["difference"]["pixels_max"] <= 2


def test_lab_benchmark(tmp_path):
    (row,) = _report("lab", tmp_path, "--size", "128")["rows"]
    assert row["largest_error"]["ours"] < 1e-3
    assert row["ratio"]["to_lab/to_lab_skimage"]["median"] > 1.0


def test_shards_benchmark(tmp_path):
    (row,) = _report("shards", tmp_path, "--size", "64")["rows"]
    assert set(row["ways"]) == {"folder", "jpeg", "uint8"}
    assert row["bytes"]["jpeg"] < row["bytes"]["uint8"] < row["bytes"]["folder"]
    assert all(ratio["median"] > 1.5 for ratio in row["ratio"].values())
    assert row["check"] > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fit_overhead", []),
        ("gan_step", ["--model.encoder.width", "4", "--model.discriminator.width", "4"]),
    ],
)
def test_overhead_of_fit_benchmarks(tmp_path, capsys, name, words):
    report = _report(name, tmp_path, "--batch-size", "4", *words)
    fit, bare = (np.array(report["raw_seconds"][way]) for way in ("fit", "bare"))
    assert len(fit) == len(bare) == report["pairs"] == 3
    assert (fit > 0).all()
    _near(report["ratio"], list(fit / bare))
    step = report["milliseconds_per_step"]
    assert step["fit"] == pytest.approx(1000 * np.median(fit) / report["steps"])
    # A piece of fit must not hold the bare loop's piece as well, nor only a part of its own steps.
    assert 0.3 < report["ratio"]["median"] < 4.0


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
def test_gpu_benchmark_at_toy_size(tmp_path, capsys):
    """On a CPU, where all parts must agree exactly."""
    path = tmp_path / "gpu.json"
    before = torch.backends.cudnn.conv.fp32_precision
    with mock.patch.dict(os.environ):
        assert import_module("gpu").main(["--toy", "--json", str(path), "--minutes", "5"]) == 0
    assert torch.backends.cudnn.conv.fp32_precision == before
    report = json.loads(path.read_text())
    assert report["command"].startswith("python benchmarks/gpu.py --toy")
    assert (report["skipped"], report["failed"]) == ([], {})
    fragments = {p.stem for p in (BENCHMARKS.parent / "experiments" / "gpu").glob("*.yaml")}
    for system in report["systems"]:
        assert fragments < set(system["runs"])
        rate = {name: run["images_per_second"] for name, run in system["runs"].items()}
        for name, run in system["runs"].items():
            assert rate[name] == pytest.approx(run["images"] / run["seconds"], rel=0.05)
            assert 0 <= run["data_wait_share"] <= 1
        ratios, script = system["ratios"], system["notebook"]["images_per_second"]
        assert ratios["fused"] == rate["fused"] / rate["fp32, eager"]
        assert ratios["decode"] == rate["decode"] / rate["fp32, eager, from files"]
        assert ratios["all / notebook"] == rate["all"] / script
    assert max(report["colors"].values()) < 1e-4
    assert report["resume"] == {"resumed": 0.0, "second_run": 0.0}
    assert [row["images"] for row in report["decoding"]] == ["small", "camera"]
    rendered = import_module("tables").gpu(report)
    assert "| ResNet-34, 32 px, batch 2: fp32, eager |" in rendered
    assert "| resumed | 0.0e+00 |" in rendered


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_benchmark_refuses_a_cpu(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    assert import_module("gpu").main(["--json", str(path)]) == 2
    assert "there is no GPU here" in capsys.readouterr().err
    assert not path.exists()


def test_hyperband_on_recorded_trials(tmp_path, monkeypatch):
    script = import_module("hyperband")
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    curves = [[n + step / 10 for step in range(6)] for n in range(8)]
    trials = [{"state": "finished", "history": curve} for curve in curves]
    recorded = {"name": "s", "metric": {"name": "m", "goal": "maximize"}, "trials": trials}
    (tmp_path / "trials.json").write_text(json.dumps(recorded))
    words = ["hyperband.py", str(tmp_path / "trials.json"), "--rule", "1,3", "--orders", "20"]
    monkeypatch.setattr("sys.argv", words)
    script.main()
    report = json.loads((tmp_path / "hyperband.json").read_text())
    (row,) = report["rules"]
    assert report["command"] == "python benchmarks/hyperband.py trials.json --rule 1,3 --orders 20"
    assert 1 / 6 < row["spent"]["low"] <= row["spent"]["median"] <= row["spent"]["high"] < 1
    assert row["regret"] == {"median": 0, "low": 0, "high": 0}  # their order never changes


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("/a/b/photos", "photos"),
        ("/a/b/photos/", "photos"),
        ("/photos", "photos"),
        ("/a b/photos", "photos"),
        ("cnn=/a/one,/a/two", "cnn=one,two"),
        ("--data=/a/b/photos", "--data=photos"),
        ("cnn:model.encoder.weights=/a/b/v2.pth", "cnn:model.encoder.weights=v2.pth"),
        ("data/photos", "data/photos"),
        ("1/2", "1/2"),
        ("two words", "'two words'"),
    ],
)
def test_command_of_a_report_names_no_folders_of_the_machine(word, shown):
    assert command_of("photos", ["--of", word]) == f"python benchmarks/photos.py --of {shown}"


def test_specialists_of_folders_that_are_apart(tmp_path, monkeypatch, capsys):
    folders = [str(tmp_path / name) for name in ("a/pets", "b/landscapes")]
    words = ["--data", *folders, "--out", str(tmp_path), "--weights", "v2.pth"]
    monkeypatch.setattr("sys.argv", ["specialists.py", *words])
    with pytest.raises(SystemExit):
        import_module("specialists").main()
    assert "the folders of --data must lie beside each other" in capsys.readouterr().err


def _measured(psnr, lut, decodings):
    def row(psnr, ratio):
        metrics = {"psnr": psnr, "ciede2000": 10.0, "colorfulness_ratio": ratio, "ab_corr": 0.5}
        return {n: {"value": v, "low": v - 1, "high": v + 1} for n, v in metrics.items()}

    return {
        "decodings": {name: row(psnr, 0.1 + i) for i, name in enumerate(decodings)},
        "baselines": {"grey": row(20.0, 0.0), "lut": row(lut, 0.2)},
        "images_seen": 1000,
    }


@pytest.mark.parametrize("what", ["recipes", "finalists", "curve", "measures"])
def test_colors_over_seeds(tmp_path, what):
    """Each recipe has mean and range over its runs; baselines must agree in all runs."""
    colors, tables = import_module("colors"), import_module("tables")
    dial = ["0 0.38", "0.5 0.38", "1 0.38"]
    decodings = {"curve": dial, "finalists": [*dial, "faithful", "vivid"]}.get(what, ["network"])
    for name, seed, psnr in (("10", 1, 21.0), ("10", 2, 23.0), ("100", 1, 25.0)):
        (run := tmp_path / f"{name}-{seed}").mkdir()
        measured = _measured(psnr, float(len(name)), decodings)
        (run / colors.MEASURED).write_text(json.dumps(measured))
    report = colors.collect(tmp_path, ["10", "100", "1000"], {})
    assert {name: set(runs) for name, runs in report["runs"].items()} == {
        "10": {"1", "2"},
        "100": {"1"},
    }
    assert set(report["baselines"]) == {"grey"}
    (tmp_path / "10-1").rename(tmp_path / "10-3")  # another seed, trained elsewhere
    more = colors.collect(tmp_path, ["10", "100", "1000"], report)
    assert list(more["runs"]["10"]) == ["1", "2", "3"]
    assert more["runs"]["100"] == report["runs"]["100"]
    first, *_, last = tables.colors(report).splitlines()[2:]
    assert first.split(" | ")[1] == "22.00 (21.00 to 23.00)"
    assert last.startswith("| grey | 20.00 | ")
    colors.draw(report, what, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert len(plot.convert("RGB").getcolors(2**16)) > 20


def test_a_budget_is_the_steps_of_its_minutes(tmp_path, monkeypatch):
    colors = import_module("colors")
    speeds = {"64": {"l1": 100.0, "cross_entropy": 200.0, "default_model": 50.0}}
    (file := tmp_path / "speed.json").write_text(json.dumps({"images_per_second": speeds}))
    monkeypatch.setattr(colors, "SPEEDS", file)
    args = SimpleNamespace(what="finalists", size=64, minutes=8)

    def steps(name, experiment="photos_cpu"):
        return colors.steps(colors.Recipe(name, experiment), args)

    assert steps("cross_entropy") == 2 * steps("l1") == 8 * 60 * 200 / colors.BATCH
    assert steps("default_model_more", "default_model") == steps("default_model", "default_model")
    args.size = 128
    with pytest.raises(SystemExit, match="run `speed --size 128`"):
        steps("l1")


def test_choice_of_the_epoch():
    script, tables = import_module("choice"), import_module("tables")
    # The plain best is an outlier in the second epoch; the averages are best at the end.
    curves = {"psnr": [20.0, 29.0, 20.0, 23.0, 24.0, 25.0], "loss": [9.0, 0.0, 5.0, 4.0, 3.0, 2.0]}
    curves |= {"ciede2000": curves["loss"], "ab_corr": curves["psnr"]}
    run = []
    for epoch in range(6):
        val = {f"val/{name}": values[epoch] for name, values in curves.items()}
        test = {"psnr": 20.0, "ciede2000": 12.0 - epoch, "colorfulness_ratio": 0.5, "ab_corr": 0.1}
        run.append({"val": val, "test": test})
    criteria = script.choose([run, run])
    for name in curves:
        assert criteria[f"val/{name}, 1"]["epoch"] == [2, 2]
        assert criteria[f"val/{name}, 1"]["missed"] == [4.0, 4.0]
        assert criteria[f"val/{name}, 5"]["missed"] == [0.0, 0.0]
    assert criteria["val/psnr, 3"]["epoch"] == [4, 4]
    assert criteria["last epoch"]["epoch"] == [6, 6]
    row = "| val/psnr, 1 | 2 (2 to 2) | 20.00 (20.00 to 20.00) | 11.00 (11.00 to "
    assert row in tables.choice({"criteria": criteria})


def test_every_table_of_the_documents_can_be_reproduced():
    """Its file is valid, its data sets are known, and its rules fit its results."""
    marked = {
        name
        for path in import_module("tables").DOCUMENTS
        for name in re.findall(r"<!-- table: (\w+)", path.read_text())
    }
    assert marked <= set(names())
    known = read_data_sets()
    for name in names():
        plan = Reproduction.read(name)
        used = set(re.findall(r"\bdata/([\w.]+)", " ".join(plan.commands)))
        if "benchmarks/sweeps/" in " ".join(plan.commands):
            used |= {"mobilenet_v2_f16.pt"}  # in one of the files there
        for file in re.findall(r"\bbenchmarks/(\w+)\.py", " ".join(plan.commands)):
            if (BENCHMARKS / f"{file}.yaml").is_file():
                used |= set(
                    re.findall(r"\bdata/([\w.]+)", (BENCHMARKS / f"{file}.yaml").read_text())
                )
        assert used == set(plan.data) <= set(known), name
        assert all((CLONE / image).is_file() for image in plan.images)
        unmatched: set[str] = set()
        if (CLONE / plan.results).is_file():
            unmatched |= figures(json.loads((CLONE / plan.results).read_text())).keys()
        for pattern, rule in plan.figures.items():
            matched = {figure for figure in unmatched if find_rule(figure, {pattern: rule}) is rule}
            assert matched, f"{name}: {pattern} matches no figure that no earlier pattern does"
            unmatched -= matched


class Parsed(Exception):
    """Raised in place of the work of a script."""


@pytest.fixture
def parse_only(monkeypatch):
    """Let a script parse its words and do nothing else."""
    parse, parse_known = ArgumentParser.parse_args, ArgumentParser.parse_known_args
    monkeypatch.setattr("sys.stderr", io.StringIO())

    def parsed(self, args=None, namespace=None):
        with mock.patch.object(ArgumentParser, "parse_known_args", parse_known):
            parse(self, args, namespace)
        raise Parsed

    def known(self, args=None, namespace=None):
        with mock.patch.object(ArgumentParser, "parse_known_args", parse_known):
            _, settings_of_fit = parse_known(self, args, namespace)
        assert all(re.match(r"--\w+\.\w", word) for word in settings_of_fit[::2])
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(ArgumentParser, "parse_known_args", known)


def test_scripts_accept_the_commands_that_reproduce_tables(monkeypatch, parse_only):
    for name in names():
        for command in Reproduction.read(name).commands:
            words = shlex.split(command)
            if "python" not in words:
                continue  # in tests/test_documents.py
            _, script, *rest = words[words.index("python") :]
            monkeypatch.setattr("sys.argv", [script, *rest])
            try:
                with pytest.raises(Parsed):
                    import_module(Path(script).stem).main()
            except SystemExit:
                pytest.fail(f"{name}: {command}")


def test_results_have_provenance_without_paths():
    for path in (BENCHMARKS / "results").glob("*.json"):
        text = path.read_text()
        report = json.loads(text)
        assert report["command"]
        assert {"git_commit", "versions", "cpu", "cpu_count"} <= set(report["environment"])
        assert not re.search("/(home|tmp|work)", text)


def test_audit_benchmark(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo, _ = write_images(folder, 2, 160, 120)
    with Image.open(photo) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "mirrored.jpg", quality=95)
    (folder / "broken.jpg").write_text("no image")
    path = tmp_path / "audit.json"
    import_module("audit").main([str(folder), "--json", str(path)])
    report = json.loads(path.read_text())
    assert (report["copies"], report["images"]) == (3, 4)
    kinds = ("the same bytes", "half the size", "rotated by 90 degrees", "white border of 5 %")
    assert [report["found"][kind] for kind in kinds] == [3, 3, 3, 3]
    assert [sorted(group) for group in report["groups"]] == [[photo.name, "mirrored.jpg"]]
    assert report["peak_memory"] > 50e6


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
