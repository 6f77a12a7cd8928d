import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from lightning_colorize.metrics import BASELINES
from lightning_colorize.metrics.spec import NAMES
from tests.reports.html import content, embedded, requests_another_site

METRICS = set(NAMES)


@pytest.fixture
def compare(command, tmp_path):
    """Calls the command; returns exit code, numbers and the folder of the page."""

    def call(*words, data=command.photos):
        numbers = tmp_path / "numbers.json"
        out = tmp_path / "page"
        options = ("--data", data, "--out", out, "--json", numbers, "--device", "cpu")
        code = command("compare", *words, *options)
        return code, json.loads(numbers.read_text()) if numbers.exists() else {}, out

    return call


@pytest.fixture
def changed_run(finished_run, tmp_path):
    """Copies the run with another configuration."""

    def copy(name, change):
        file = shutil.copytree(finished_run, tmp_path / name) / "config.yaml"
        file.write_text(change(file.read_text()))
        return f"{name}={file.parent}"

    return copy


@pytest.fixture
def colored_elsewhere(photo_folder, tmp_path):
    """The test images without color, as PNG files from elsewhere."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for file in (photo_folder / "test").iterdir():
        Image.open(file).convert("L").convert("RGB").save(folder / f"{file.stem}.png")
    return folder


def test_numbers_match_evaluate(command, compare, finished_run, tmp_path, capsys):
    code, numbers, out = compare(f"net={finished_run}")
    assert code == 0
    path = tmp_path / "evaluate.json"
    assert command("evaluate", finished_run, "--data", command.photos, "--json", path) == 0
    expected = json.loads(path.read_text())["metrics"]
    assert list(numbers["metrics"]) == ["net", *BASELINES]
    for row, name in (("net", "model"), *zip(BASELINES, BASELINES, strict=True)):
        assert numbers["metrics"][row] == pytest.approx(expected[name], rel=1e-4, abs=1e-4)
        assert numbers["metrics"][row].keys() == METRICS
    assert (numbers["images"], numbers["split"], numbers["size"]) == (3, "test", 32)
    printed = capsys.readouterr().out
    assert f"3 test images of {command.photos} at 32 px\n" in printed
    assert str(out / "index.html") in printed
    psnr = [image["psnr"] for image in numbers["per_image"]["net"].values()]
    assert np.mean(psnr) == pytest.approx(expected["model"]["psnr"], rel=1e-4)


def test_a_run_on_a_list_is_compared_on_its_split_with_its_settings(
    command, compare, photo_folder, tmp_path, capsys
):
    photos = tmp_path / "photos"
    shutil.copytree(photo_folder / "train", photos / "all")
    rows = [f"all/{i:03d}{'.jpg' if i % 2 else '.png'}" for i in range(12)]
    splits = ["train"] * 6 + ["val", "val"] + ["test"] * 4
    lines = ["path,split", *(",".join(row) for row in zip(rows, splits, strict=True))]
    (photos / "list.csv").write_text("\n".join(lines))
    source = ("--data.source", "lightning_colorize.data.sources.ManifestSource")
    words = ("--data.root", photos / "list.csv", *source, "--trainer.max_epochs", 1)
    run = command.fit("listed", *words)
    code, numbers, _ = compare(f"a={run}", "--strength", 0.5, data=photos / "list.csv")
    assert (code, numbers["split"]) == (0, "test")
    assert set(numbers["per_image"]["a"]) == set(rows[8:])
    assert "a: strength 0.5, flip 0; its own are strength 1, flip 0\n" in capsys.readouterr().err


def test_comparison_with_images_colored_elsewhere(compare, finished_run, colored_elsewhere):
    # Grey images score like the grey baseline.
    code, numbers, out = compare(f"theirs={colored_elsewhere}", f"net={finished_run}")
    assert code == 0
    assert numbers["metrics"]["theirs"]["colorfulness"] == pytest.approx(0, abs=0.05)
    assert numbers["metrics"]["theirs"]["mse_ab"] == pytest.approx(
        numbers["metrics"]["grey"]["mse_ab"], rel=1e-3
    )
    assert numbers["systems"]["theirs"] == {"path": str(colored_elsewhere), "run": None}
    assert numbers["systems"]["net"]["run"] == str(finished_run)
    assert numbers["size"] == 32
    assert len(list((out / "sheets").iterdir())) == 3
    html = (out / "index.html").read_text()
    for section in ("metrics", "differ", "extremes", "curves", "budgets", "images", "method"):
        assert f'id="{section}"' in html
    assert "no run folder" in html


def test_only_images_that_all_can_read_are_compared_and_grey_ones_are_counted(
    compare, finished_run, colored_elsewhere, photo_folder, tmp_path, capsys
):
    shutil.copytree(photo_folder, tmp_path / "data")
    kept = sorted((tmp_path / "data/test").iterdir())[-1]
    Image.open(kept).convert("L").save(kept)
    broken, removed, _ = sorted(colored_elsewhere.iterdir())
    removed.unlink()
    broken.write_bytes(b"no image")
    words = (f"net={finished_run}", f"theirs={colored_elsewhere}")
    code, numbers, out = compare(*words, data=tmp_path / "data")
    assert code == 1
    assert (numbers["images"], numbers["unreadable"]) == (1, 1)
    assert [name.partition(".")[0] for name in numbers["missing"]["theirs"]] == [
        f"test/{removed.stem}"
    ]
    printed = capsys.readouterr().err
    assert f"left out: test/{broken.stem}" in printed
    for text in (printed, (out / "index.html").read_text()):
        assert f"theirs has no image for 1 of them (first: test/{removed.stem}" in text
        assert "1 of the images could not be read" in text
        assert "1 images are compared" in text
        assert "1 of 1 images have no color" in text


def test_configurations_of_runs_are_compared(compare, finished_run, changed_run, capsys):
    seed = changed_run("b", lambda text: re.sub("(seed_everything:) .*", r"\1 1234", text))
    start = ("checkpoint: null", f"checkpoint: {finished_run}/begun")
    loss = changed_run("c", lambda text: text.replace("losses.L1", "losses.MSE").replace(*start))
    broken = changed_run("d", lambda text: "[")
    code, numbers, out = compare(f"a={finished_run}", seed, loss, broken)
    assert code == 0
    assert [group["systems"] for group in numbers["seeds"]] == [["a", "b"]]
    assert numbers["metrics"]["d"]["psnr"] == numbers["metrics"]["a"]["psnr"]
    html = (out / "index.html").read_text()
    for shown in ('id="seeds"', "model.init_args.loss.class_path", ".losses.MSE", ">begun<"):
        assert shown in html
    for text in (html, capsys.readouterr().err):
        assert "node content: the training data and settings of d are unknown" in text
    for page in ("index.html", "errors.html"):
        assert str(finished_run.parents[2]) not in (out / page).read_text()


def test_a_system_that_diverged_is_named(compare, finished_run, diverged, capsys):
    code, numbers, out = compare(f"diverged={diverged}", f"net={finished_run}")
    assert code == 1
    assert numbers["metrics"]["diverged"]["psnr"] is None
    message = "diverged predicted colors that are not finite (NaN) for 3 of 3 images"
    assert message in capsys.readouterr().err
    assert message in (out / "index.html").read_text()
    # grey | diverged | net | truth; a cell that is no image
    sheet = Image.open(out / "sheets" / "00000.jpg")
    corner = sheet.width // 4 + 12, 40
    assert np.allclose(sheet.getpixel(corner), (110, 110, 120), atol=4)
    words = (f"diverged={diverged}", f"net={finished_run}", "--study", "--overwrite")
    assert compare(*words)[0] == 2
    assert "can be used in the study" in capsys.readouterr().err


def test_training_images_are_reported(compare, finished_run, command, capsys):
    words = (f"net={finished_run}", "default")
    _, numbers, out = compare(*words, data=command.photos / "train")
    assert numbers["trained_on"] == {"net": 12}
    err, page = capsys.readouterr().err, (out / "index.html").read_text()
    for text in ("net: 12 of these 12 are training", "default: the training images are listed in"):
        assert (text in err, text in page) == (True, True)


@pytest.mark.parametrize("grey", [True, False])
def test_without_true_colors_there_are_no_metrics(
    compare, finished_run, photo_folder, colored_elsewhere, capsys, grey
):
    words = (f"a={finished_run}", f"b={finished_run}", "--study", *([] if grey else ["--no-truth"]))
    code, numbers, out = compare(*words, data=colored_elsewhere if grey else photo_folder)
    assert code == 0
    assert "metrics" not in numbers
    assert "no metrics" in capsys.readouterr().out
    html = (out / "index.html").read_text()
    assert 'id="metrics"' not in html
    assert ', truth"' not in html
    # grey | a | b
    assert Image.open(out / "sheets" / "00000.jpg").width < 4 * 160
    study = embedded((out / "study.html").read_text(), "study")
    assert study["questions"] == ["better"]
    assert study["images"][0]["truth"] is None


def test_a_subset_is_the_same_at_every_call(compare, finished_run, command):
    names = []
    for seed in (0, 0, 1):
        _, numbers, out = compare(
            f"a={finished_run}", "--max-images", 3, "--seed", seed, "--overwrite", "--split",
            "train",
        )  # fmt: skip
        names.append(set(numbers["disagreement"]))
        assert len(list((out / "sheets").iterdir())) == len(names[-1]) == 3
    assert names[0] == names[1] != names[2]


def test_nothing_is_overwritten_unless_asked(compare, finished_run, tmp_path, capsys):
    own = tmp_path / "page" / "sheets" / "mine.jpg"
    own.parent.mkdir(parents=True)
    own.touch()
    assert compare(f"a={finished_run}")[0] == 0
    before = (tmp_path / "page" / "index.html").read_bytes()
    assert compare(f"b={finished_run}")[0] == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "page" / "index.html").read_bytes() == before
    assert compare(f"b={finished_run}", "--overwrite")[0] == 0
    assert (tmp_path / "page" / "index.html").read_bytes() != before
    assert own.exists()


@pytest.fixture
def study(compare, finished_run, photo_folder, colored_elsewhere, tmp_path):
    """The folder of a study of three photographs, next to which is a grey one."""
    photos = shutil.copytree(photo_folder / "test", tmp_path / "photos")
    Image.open(next(photos.iterdir())).convert("L").convert("RGB").save(photos / "grey.png")
    shutil.copy(photos / "grey.png", colored_elsewhere)
    words = (f"net={finished_run}", f"theirs={colored_elsewhere}", "--study")
    code, numbers, out = compare(*words, data=photos)
    assert (code, numbers["images"]) == (0, 4)
    return out


def test_files_of_a_study_do_not_reveal_their_system(study):
    html = (study / "study.html").read_text()
    content = embedded(html, "study")
    assert content["systems"] == ["net", "theirs"]
    assert content["questions"] == ["real", "better"]
    assert len(content["images"]) == 3
    assert "grey.png" not in [image["name"] for image in content["images"]]
    files = []
    for image in content["images"]:
        shown = [image["truth"], image["broken"], *image["systems"]]
        files += shown
        images = [Image.open(study / file) for file in shown]
        # Neither name nor format reveals the system.
        assert len({(i.size, i.format, str(i.quantization), str(i.info)) for i in images}) == 1
        assert len(set(shown)) == 4
    assert all(re.fullmatch(r"study/[0-9a-f]{24}\.jpg", file) for file in files)
    assert sorted(f"study/{p.name}" for p in (study / "study").iterdir()) == sorted(files)
    # Their order on disk follows from the contents alone.
    assert sorted(files) != files
    assert {len(plan) for plan in content["plans"]} == {54}
    assert "net" not in html[: html.index('id="study"')]
    assert not requests_another_site(html)
    assert 'href="study.html"' in (study / "index.html").read_text()


def test_a_study_shows_the_true_images(study, photo_folder):
    image = embedded((study / "study.html").read_text(), "study")["images"][0]
    truth = np.asarray(Image.open(photo_folder / "test" / image["name"]).convert("RGB"), float)
    shown = np.asarray(Image.open(study / image["truth"]), float)
    colored = np.asarray(Image.open(study / image["systems"][0]), float)
    assert np.abs(shown - truth).mean() < 6
    assert np.abs(colored - truth).mean() > 12
    # Both have the photograph's own lightness.
    grey = np.array([0.2126, 0.7152, 0.0722])
    assert np.abs(colored @ grey - truth @ grey).mean() < 8


def test_samples_have_a_score_and_a_map_of_where_they_differ(compare, obeys, finished_run):
    first, *options = obeys("noise: 9", "noise=")
    words = (first, f"net={finished_run}", *options)
    code, numbers, out = compare(*words, "--samples", 3)
    assert (code, numbers["samples"]) == (0, 3)
    assert numbers["metrics"]["noise"]["sample_diversity"] > 1
    assert numbers["metrics"]["net"]["sample_diversity"] is None
    energy = numbers["differences"]["net"]["energy"]
    assert energy["low"] < energy["value"] < energy["high"]
    assert all("energy" in row for row in numbers["per_image"]["grey"].values())
    assert "best_ciede2000" in content((out / "index.html").read_text())
    width = Image.open(out / "sheets" / "00000.jpg").width
    compare("--overwrite", *words)
    fewer = Image.open(out / "sheets" / "00000.jpg").width
    assert width / fewer == pytest.approx(5 / 4, abs=0.02)  # with the map


def test_sheets_and_study_show_the_samples_of_the_seed(compare, obeys):
    words = (*obeys("noise: 40"), "--study", "--overwrite")

    def shown(seed):
        _, _, out = compare(*words, "--seed", seed)
        study = embedded((out / "study.html").read_text(), "study")
        of_study = {each["name"]: out / each["systems"][0] for each in study["images"]}
        files = (out / "sheets" / "00000.jpg", of_study[min(of_study)])
        return [np.asarray(Image.open(file), float) for file in files]

    for first, again, other in zip(shown(1), shown(1), shown(2), strict=True):
        assert np.array_equal(first, again)
        assert np.abs(first - other).mean() > 2
