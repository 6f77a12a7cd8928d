import json
import shutil

import pytest
from PIL import Image, ImageEnhance

from lightning_colorize.evaluation.protocol_result import KEPT, SYSTEM, TRUTH
from lightning_colorize.metrics import BASELINES


def _evaluate(command, system, data, file, *words, protocol="crop256"):
    code = command(
        *("evaluate", system, "--protocol", protocol, "--data", data),
        *("--json", file, "--device", "cpu", *words),
    )
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
    code, result = _evaluate(
        command, finished_run, photographs, tmp_path / "a.json", protocol=small
    )
    assert code == 0
    assert list(result["rows"]) == [SYSTEM, TRUTH, *BASELINES]
    psnr = {row: metrics["psnr"] for row, metrics in result["rows"].items()}
    assert psnr[TRUTH]["value"] == 100
    assert psnr[SYSTEM]["low"] < psnr[SYSTEM]["value"] < psnr[SYSTEM]["high"] < 100
    assert result["rows"][TRUTH]["ciede2000"]["value"] < 1e-3
    assert result["rows"]["grey"]["colorfulness"]["value"] < 1
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
    rows = []
    for system, file in ((finished_run, "a.json"), (out, "b.json")):
        _, result = _evaluate(command, system, photographs, tmp_path / file, protocol="native")
        rows.append(result["rows"][SYSTEM])
        assert result["protocol"]["sha256"] == rows[0].setdefault(
            "at", result["protocol"]["sha256"]
        )
    del rows[0]["at"]
    for name, metric in rows[0].items():
        assert rows[1][name]["value"] == pytest.approx(metric["value"], abs=1e-4)


def test_a_system_that_changes_lightness_is_measured_both_ways(
    command, photographs, small, tmp_path
):
    bright = tmp_path / "bright"
    shutil.copytree(photographs, bright)
    for file in bright.iterdir():
        with Image.open(file) as image:
            ImageEnhance.Brightness(image).enhance(0.7).save(file)
    code, result = _evaluate(command, bright, photographs, tmp_path / "a.json", protocol=small)
    assert code == 0
    assert result["changes_lightness"] > 5
    own, kept = (result["rows"][row]["psnr"]["value"] for row in (SYSTEM, KEPT))
    assert kept > own + 5
    assert result["sha256"] is None


def test_a_folder_without_one_of_the_images_is_refused(
    command, photographs, small, tmp_path, capsys
):
    part = tmp_path / "part"
    shutil.copytree(photographs, part)
    (part / "1.png").unlink()
    words = ("--protocol", small, "--data", photographs)
    assert command("evaluate", part, *words) == 2
    assert "lacks 1.png; a protocol needs all 3 images" in capsys.readouterr().err


def test_images_unlike_the_published_ones_fail_the_calibration(
    command, photographs, tmp_path, capsys
):
    (tmp_path / "known.yaml").write_text("size: 32\nshape: crop\ncolorfulness: 250\n")
    code, _ = _evaluate(
        command, photographs, photographs, tmp_path / "a.json", protocol=tmp_path / "known.yaml"
    )
    assert code == 1
    assert "published is 250.00" in capsys.readouterr().err


def test_a_protocol_does_not_go_with_a_grid(command, photographs, capsys):
    words = ("--protocol", "crop256", "--data", photographs, "--grid", "strength=1")
    assert command("evaluate", "default", *words) == 2
    assert "choose one of them" in capsys.readouterr().err
