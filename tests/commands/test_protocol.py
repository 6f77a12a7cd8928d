import json
import shutil

import pytest
from PIL import Image, ImageEnhance

from lightning_colorize.evaluation.protocol import KEPT, SYSTEM, TRUTH
from lightning_colorize.metrics import BASELINES


def _measure(command, system, data, file, *words, protocol="crop256"):
    words = ("--data", data, "--json", file, "--device", "cpu", "--overwrite", *words)
    code = command("protocol", protocol, system, *words)
    return code, json.loads(file.read_text())


@pytest.fixture(scope="module")
def photographs(photo_folder, tmp_path_factory):
    """Photographs of several shapes, without splits."""
    folder = tmp_path_factory.mktemp("photographs")
    for i, file in enumerate(sorted((photo_folder / "test").rglob("*.*"))[:3]):
        with Image.open(file) as image:
            image.convert("RGB").resize((60 + 8 * i, 48)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def small(tmp_path):
    """A protocol of small images."""
    (tmp_path / "small.yaml").write_text("size: 32\nshape: crop\n")
    return tmp_path / "small.yaml"


def test_a_result_has_rows_intervals_and_its_provenance(
    command, finished_run, photographs, small, tmp_path, capsys
):
    code, result = _measure(command, finished_run, photographs, tmp_path / "a.json", protocol=small)
    assert code == 0
    assert list(result["rows"]) == [SYSTEM, TRUTH, *BASELINES]
    psnr = {row: metrics["psnr"] for row, metrics in result["rows"].items()}
    assert psnr[TRUTH]["value"] == 100
    assert psnr[SYSTEM]["low"] < psnr[SYSTEM]["value"] < psnr[SYSTEM]["high"] < 100
    assert result["rows"][TRUTH]["ciede2000"]["value"] < 1e-3
    assert result["rows"]["grey"]["colorfulness"]["value"] < 1
    true = result["rows"][TRUTH]["colorfulness_absolute"]["value"]
    for metrics in result["rows"].values():  # of the means, as DDColor publishes it
        delta, own = metrics["delta_colorfulness"], metrics["colorfulness_absolute"]["value"]
        assert delta["value"] == pytest.approx(abs(own - true))
        assert 0 <= delta["low"] <= delta["value"] <= delta["high"]
    assert result["changes_lightness"] < 0.3
    assert (result["protocol"]["name"], result["protocol"]["images"]) == ("small", 3)
    assert len(result["sha256"]) == 64
    assert str(photographs) not in json.dumps(result)  # no folder of this machine
    printed = capsys.readouterr()
    assert f"3 images, protocol small ({result['protocol']['sha256'][:8]})" in printed.out
    assert "calibration: passed" in printed.err


def test_the_images_that_colorize_writes_have_the_figures_of_their_network(
    command, finished_run, photographs, tmp_path
):
    out = tmp_path / "colored"
    assert command("colorize", photographs, out, "--checkpoint", finished_run) == 0
    network, images = (
        _measure(command, system, photographs, tmp_path / "a.json", protocol="native")[1]
        for system in (finished_run, out)
    )
    assert images["protocol"] == network["protocol"]
    for name, metric in network["rows"][SYSTEM].items():
        assert images["rows"][SYSTEM][name]["value"] == pytest.approx(metric["value"], abs=1e-4)


def test_a_system_that_changes_lightness_is_measured_both_ways(
    command, photographs, small, tmp_path
):
    bright = tmp_path / "bright"
    shutil.copytree(photographs, bright)
    for file in bright.iterdir():
        with Image.open(file) as image:
            ImageEnhance.Brightness(image).enhance(0.7).save(file)
    code, result = _measure(command, bright, photographs, tmp_path / "a.json", protocol=small)
    assert code == 0
    assert result["changes_lightness"] > 5
    own, kept = (result["rows"][row]["psnr"]["value"] for row in (SYSTEM, KEPT))
    assert kept > own + 5
    assert result["sha256"] is None


def test_images_unlike_the_published_ones_fail_the_calibration(
    command, photographs, tmp_path, capsys
):
    (tmp_path / "known.yaml").write_text("size: 32\nshape: crop\ncolorfulness: 250\n")
    code, _ = _measure(
        command, photographs, photographs, tmp_path / "a.json", protocol=tmp_path / "known.yaml"
    )
    assert code == 1
    assert "published is 250.00" in capsys.readouterr().err


def test_images_of_another_shape_are_not_cropped_by_guess(
    command, photographs, small, tmp_path, capsys
):
    squares, own = tmp_path / "squares", tmp_path / "own"
    for folder, side in ((squares, 40), (own, 32)):
        folder.mkdir()
        for file in photographs.iterdir():
            with Image.open(file) as image:
                image.resize((side, side)).save(folder / file.name)
    words = ("--data", photographs)
    assert command("protocol", small, squares, *words) == 2
    assert "has neither the size of the protocol nor the shape" in capsys.readouterr().err
    assert command("protocol", small, own, *words) == 0


def test_metrics_of_pretrained_networks_are_in_the_result_and_in_the_leaderboard(
    command, finished_run, photographs, small, tmp_path, capsys, monkeypatch
):
    import timm
    import torch

    from lightning_colorize.evaluation.pretrained import load_network

    load_network.cache_clear()  # another test's weights
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))  # and tests have no network
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.pt")
    words = ("--metric", f"frechet:test_resnet={tmp_path / 'resnet.pt'}")
    file = tmp_path / "results" / "a.json"
    file.parent.mkdir()
    code, result = _measure(command, finished_run, photographs, file, *words, protocol=small)
    assert code == 0
    (frechet,) = result["pretrained"]
    assert list(frechet["rows"]) == list(result["rows"]) == [SYSTEM, TRUTH, *BASELINES]
    assert frechet["rows"][TRUTH]["value"] == pytest.approx(0, abs=1e-9)
    assert frechet["rows"][SYSTEM]["value"] > 0
    assert frechet["images"] == 3
    assert str(tmp_path) not in json.dumps(result)
    printed = capsys.readouterr()
    label = f"frechet:test_resnet {frechet['sha256'][:8]}"
    assert label in printed.out
    assert command("leaderboard", file.parent, "--out", tmp_path / "out") == 0
    table = (tmp_path / "out/leaderboard.md").read_text()
    assert label in table.replace("\\", "")
    lpips = ("--metric", "lpips_alex")
    assert command("protocol", small, finished_run, "--data", photographs, *lpips) == 2
    assert "lpips_alex: the published weights are not available" in capsys.readouterr().err


def test_hints_are_given_to_any_model(command, photographs, obeys, finished_run, tmp_path):
    protocol = tmp_path / "hints.yaml"
    file, *options = obeys("floods: true")
    psnr = {}
    for points in (0, 1):
        protocol.write_text(f"size: 32\nshape: crop\nhint_points: {points}\n")
        words = (file, photographs, tmp_path / "a.json", *options)
        code, result = _measure(command, *words, protocol=protocol)
        assert code == 0
        psnr[points] = {row: each["psnr"]["value"] for row, each in result["rows"].items()}
    assert "diffused" not in psnr[0]
    # The stub fills the image with the hint's color, as diffusion does.
    assert psnr[1][SYSTEM] == pytest.approx(psnr[1]["diffused"], abs=0.2)
    assert psnr[1][SYSTEM] != pytest.approx(psnr[0][SYSTEM], abs=0.1)
    assert command("protocol", protocol, finished_run, "--data", photographs) == 0


def test_networks_see_damaged_copies_but_colors_are_compared_with_the_clean_image(
    command, photographs, finished_run, tmp_path, capsys
):
    results = {}
    for damaged in ("false", "true"):
        protocol = tmp_path / "old.yaml"
        protocol.write_text(f"size: 32\nshape: crop\ndamaged: {damaged}\n")
        words = (finished_run, photographs, tmp_path / "a.json")
        code, results[damaged] = _measure(command, *words, protocol=protocol)
        assert code == 0
    clean, old = results["false"], results["true"]
    assert clean["changes_lightness"] < 0.3 < 3 < old["changes_lightness"]
    for row in (TRUTH, "grey"):
        assert old["rows"][row]["psnr"] == clean["rows"][row]["psnr"]
    psnr = {row: metrics["psnr"]["value"] for row, metrics in old["rows"].items()}
    assert psnr[SYSTEM] < psnr[KEPT]
    assert psnr[KEPT] != clean["rows"][SYSTEM]["psnr"]["value"]
    for row in ("mean", "lut"):  # from the copy's lightness
        differs = old["rows"][row]["psnr"] != clean["rows"][row]["psnr"]
        assert differs == (row == "lut")
    assert command("protocol", protocol, photographs, "--data", photographs) == 2
    assert "old needs a model that keeps the lightness" in capsys.readouterr().err
