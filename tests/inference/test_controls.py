"""Samples, hints, palettes, labels and prompts: of the command and in Python."""

import csv
import json
import shutil
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference.colorizer import Colorizer
from lightning_colorize.inference.jobs import add_controls, plan_jobs
from lightning_colorize.models.control import NO_CONTROL
from lightning_colorize.networks import ConditionedEncoder, ConvEncoder, Denoiser
from lightning_colorize.networks.base import TextEncoder
from lightning_colorize.tasks import GenerativeTask
from tests.conftest import make_image, read_lines

same = np.testing.assert_array_equal


def close(one, other):
    """Compare PNG files by name; kernels for another batch size change the last bits."""
    assert one.keys() == other.keys()
    for name in one:
        a, b = (np.asarray(Image.open(BytesIO(each[name])), dtype=int) for each in (one, other))
        assert np.abs(a - b).max() <= 1, name


class Length(TextEncoder):
    width = 1

    def __call__(self, texts):
        return torch.tensor([[len(text)] for text in texts]).float()


def _colorizer(text=None):
    torch.manual_seed(0)
    encoder = ConditionedEncoder(ConvEncoder(widths=[8, 16, 16]), labels=2, text=text, width=16)
    encoder.set_label_names(["cat", "dog"])
    task = GenerativeTask(encoder, denoiser=partial(Denoiser, width=48), ema_decay=None)
    model = task.eval().to_model()
    with torch.no_grad():
        for weight in model.network.parameters():  # some are 0, as those of conditions
            weight += torch.randn(weight.shape) / 10
    model.size = 32
    return Colorizer(model)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    _colorizer().export(folder / "model.safetensors")
    for each in ("in/sub", "hints/sub"):
        (folder / each).mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.png", "sub/c.png", "wide.jpg")):
        make_image(number, 60 + 40 * (name == "wide.jpg"), 45).save(folder / "in" / name)
    for name, size in (("a.png", (121, 90)), ("sub/c.webp", (40, 30)), ("wide.png", (60, 45))):
        _painted(*size).save(folder / "hints" / name, lossless=True)
    Image.new("RGBA", (60, 45)).save(folder / "empty.png")
    return folder


def _painted(width, height):
    hints = Image.new("RGBA", (width, height))
    hints.paste("red", (width // 4, height // 4, width // 2, height // 2))
    return hints


@pytest.fixture
def colorize(command, files, tmp_path, capsys):
    def call(name, *words, source="in", code=0):
        words = [str(word).replace("FILES", str(files)) for word in words]
        words += ["--checkpoint", files / "model.safetensors", "--format", "png"]
        assert command("colorize", files / source, tmp_path / name, *words) == code
        paths = sorted((tmp_path / name).rglob("*.png"))
        return {p.relative_to(tmp_path / name).as_posix(): p.read_bytes() for p in paths}

    return call


def test_samples_do_not_depend_on_their_number_or_the_batch(colorize, files, tmp_path):
    words = ("--label", "dog", "--palette", "red,navy:0.2")
    together = colorize("eight", *words, "--samples", 3, "--seed", 5)
    alone = colorize("one", *words, "--samples", 2, "--seed", 5, "--batch-size", 1)
    colorize("x.png", *words, "--samples", 1, "--seed", 5, source="in/a.jpg")
    close({"a": (tmp_path / "x_1.png").read_bytes()}, {"a": alone["a_1.png"]})
    assert list(together)[:4] == ["a_1.png", "a_2.png", "a_3.png", "b_1.png"]
    close({name: together[name] for name in alone}, alone)
    assert len(set(together.values())) == 12  # all differ
    close({"c": colorize("none", *words, "--seed", 5)["sub/c.png"]}, {"c": alone["sub/c_1.png"]})
    assert colorize("other", *words, "--seed", 6)["sub/c.png"] != alone["sub/c_1.png"]
    python = Colorizer.from_pretrained(files / "model.safetensors")
    image = python.colorize(files / "in/a.jpg", seed=5, label="dog", palette=words[-1])
    same(image, Image.open(tmp_path / "x_1.png"))


def test_the_manifest_and_which_results_are_skipped(colorize, files, tmp_path, capsys):
    words = ["--samples", 2, "--seed", 5, "--variety", 0.5, "--palette", "red"]
    words += ["--label", "dog", "--hints", "FILES/hints"]
    before = colorize("out", *words, source="in/a.jpg")
    (line,) = read_lines(tmp_path / "out/manifest.jsonl")
    assert line["output"] == str(tmp_path / "out/a_1.png")
    assert (line["samples"], line["seed"], line["settings"]["variety"]) == (2, 5, 0.5)
    hints = str(files / "hints/a.png")
    assert line["control"] == {"hints": hints, "palette": [[80.09, 67.2, 1.0]], "label": "dog"}
    (tmp_path / "out/a_2.png").unlink()
    (tmp_path / "out/a_1.png").write_bytes(b"kept")
    before["a_1.png"] = b"kept"
    for counts in ("1 colorized, 0 skipped", "0 colorized, 1 skipped"):
        capsys.readouterr()
        assert colorize("out", *words, source="in/a.jpg") == before
        output = capsys.readouterr()
        assert counts in output.out
        assert "--overwrite replaces existing results" in output.out
        if "1 colorized" in counts:
            assert "1 with fallbacks" in output.err
    lines = read_lines(tmp_path / "out/manifest.jsonl")
    expected = [[], ["kept a_1.png: the output exists"], []]
    assert [line["fallbacks"] for line in lines] == expected


def test_a_dry_run_and_a_sheet_of_samples(colorize, tmp_path, capsys):
    written = []
    for samples in (1, 3):
        capsys.readouterr()
        assert colorize("out", "--samples", samples, "--dry-run", "--json") == {}
        written.append(json.loads(capsys.readouterr().out)["written"])
    assert written[1] == pytest.approx(3 * written[0], rel=0.2)
    colorize("out", "--samples", 2, "--sheet")
    with Image.open(tmp_path / "out/sheet.jpg") as sheet:
        tiles = np.asarray(sheet.resize((6, 2), Image.Resampling.BOX), dtype=int)
    chroma = np.ptp(tiles, axis=2).mean(axis=0)  # twice grey and two samples
    assert chroma[[0, 3]].max() < 1 < chroma[[1, 2, 4, 5]].min()


def test_hints_belong_to_the_image_of_their_name(colorize, tmp_path, capsys):
    plain, hinted = colorize("plain"), colorize("hinted", "--hints", "FILES/hints", code=1)
    close({"b": plain["b.png"]}, {"b": hinted["b.png"]})
    assert all(plain[name] != hinted[name] for name in ("a.png", "sub/c.png"))
    assert "wide.png" not in hinted
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("another aspect ratio than the image: 60 x 45 pixels, not 100 x 45")
    colorize("part", "--hints", "FILES/hints", source="in/a.jpg")
    assert "hints without an image in INPUT: 2 of 3, such as" in capsys.readouterr().err
    one = colorize("one", "--hints", "FILES/hints/a.png", source="in/a.jpg")
    close(one, {"a.png": hinted["a.png"]})


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_of_controls_is_as_the_options(colorize, files, tmp_path, suffix):
    lines = ["image,label,palette,hints", "in/a.jpg,cat,,hints/a.png", "in/sub/c.png,,in/a.jpg,"]
    lines.append('in/b.png,,"#ff0000,navy",')
    if suffix == "jsonl":
        lines = [json.dumps(row) for row in csv.DictReader(lines)]
    (file := files / f"controls.{suffix}").write_text("\n".join(lines) + "\n", "utf-8-sig")
    together = colorize("file", "--controls", file, "--label", "dog")
    for source, *words in (
        ("a.jpg", "--hints", "FILES/hints", "--label", "cat"),
        ("b.png", "--palette", "#ff0000, navy", "--label", "dog"),
        ("sub/c.png", "--palette", "FILES/in/a.jpg", "--label", "dog"),
    ):
        (result,) = colorize(source[:-4], *words, source=f"in/{source}").values()
        close({"x": together[f"{source[:-4]}.png"]}, {"x": result})


def test_a_file_of_controls_in_the_input_is_not_skipped(files, tmp_path):
    shutil.copytree(files / "in/sub", tmp_path / "in")
    (tmp_path / "in/notes.txt").touch()
    (table := tmp_path / "in/table.csv").write_text("image,label\nc.png,cat\n")
    plan = add_controls(plan_jobs([tmp_path / "in"], tmp_path / "out"), NO_CONTROL, file=table)
    assert plan.others == [tmp_path / "in/notes.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("RUN --samples 2", "deterministic and has one coloring per image, not 2"),
        ("RUN --palette red --hints FILES/hints", "accepts hints, reference, not palette"),
        ("--prompt x", "accepts hints, label, palette, reference, not prompt"),
        ("image,label\na.jpg,cat\nb.png,cow", "has no label cow; its labels are cat, dog"),
        ("--hints FILES/hints/a.png", "is not a folder; for one image, give a file or a folder"),
        ("--hints FILES/nowhere", "does not exist"),
        ("--hints FILES/in/sub --limit 1", "has no image named as one of INPUT, such as wide.png"),
        ("--hints FILES/in", "is inside INPUT"),
        ("image,lable\na.jpg", "table.csv, row 1, of CSV: unknown column lable; the columns are"),
        ("image,hints\na.jpg,sub/c.png", "in/sub/c.png is inside INPUT and would be colorized"),
        ("image,palette\nd.jpg,red", "d.jpg is not an image of INPUT; the column image is rela"),
        ("image,palette", "table.csv has no rows"),
        ("image,palette\na.jpg,red\n./a.jpg", "in/a.jpg is in a row above already"),
        ("image,label,label\na.jpg,cat,dog", "table.csv, row 0, of CSV: a column is given twice"),
        ('{"image": "a.jpg", "label": "cat", "label": "dog"}', "a column is given twice"),
        ("[" * 100_000, "row 1, of JSON lines, as its name does not end with .csv: maximum recurs"),
        ('{"image": "a.jpg"}\n{"image"', "row 2, of JSON lines, as its name does not end with"),
    ],
)
def test_wrong_use_is_one_line(error_of, files, finished_run, tmp_path, words, message):
    if "--" not in words:
        table = files / "in" / ("table.csv" if words.startswith("image") else "table.txt")
        table.write_text(words)
        words = f"--controls {table}"
    words = words if "RUN" in words else f"{words} --checkpoint FILES/model.safetensors"
    given = words.replace("FILES", str(files)).replace("RUN", f"--checkpoint {finished_run}")
    assert message in error_of("colorize", files / "in", tmp_path / "out", *given.split())
    assert not (tmp_path / "out").exists()


IMAGE = np.asarray(make_image(1, 60, 45))  # in/b.png
HINTS = np.asarray(_painted(60, 45))  # hints/wide.png
TENSOR = torch.tensor(HINTS).movedim(-1, 0)


@pytest.fixture(scope="module")
def colorizer():
    return _colorizer(text=Length())


def test_samples_are_a_list_of_what_was_given(colorizer):
    first, second = colorizer.colorize(IMAGE, samples=2, seed=3)
    assert (first != second).any()
    same(colorizer.colorize(IMAGE, seed=3), first)
    same(colorizer.colorize(Image.fromarray(IMAGE), samples=1, seed=3), [first])
    prepared = colorizer.prepare(IMAGE).colorize(samples=2, seed=3)
    same(prepared, [first, second])


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("hints", [HINTS, Image.fromarray(HINTS), TENSOR, "hints/wide.png"]),
        ("palette", ["red,navy", ["#f00", "#000080"], ("red:2", "navy:2")]),
        ("palette", [IMAGE, Image.fromarray(IMAGE), "in/b.png"]),
        ("label", ["cat"]),
        ("prompt", ["a cat"]),
    ],
)
def test_all_forms_of_what_is_asked_are_the_same(colorizer, files, monkeypatch, name, forms):
    monkeypatch.chdir(files)
    plain = colorizer.colorize(IMAGE)
    first, *others = (colorizer.colorize(IMAGE, **{name: form}) for form in forms)
    assert (first != plain).any()
    prepared = colorizer.prepare(IMAGE, **{name: forms[0]}).colorize()
    same([*others, prepared], [first] * len(forms))
    asked = [forms[0]] if name == "hints" else forms[0]  # the second image has no hints
    both = list(colorizer.colorize_all([IMAGE, IMAGE], **{name: asked}))
    # Kernels for another batch size change the last bits.
    expected = [first, plain if name == "hints" else first]
    np.testing.assert_allclose(np.asarray(both, int), np.asarray(expected, int), atol=1)


@pytest.mark.parametrize("name", ["hints", "palette"])
def test_a_prepared_image_with_another_strength_keeps_the_given_colors(colorizer, name):
    asked = {name: HINTS if name == "hints" else "red,navy"}
    prepared = colorizer.prepare(IMAGE, **asked)
    before = colorizer.decoding
    colorizer.set_decoding(strength=1.4)
    expected = colorizer.colorize(IMAGE, **asked)
    colorizer.set_decoding(**before)
    same(prepared.colorize(strength=1.4), expected)
    assert (prepared.colorize() != expected).any()


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"hints": "in/b.png"}, UsageError, "the hints in/b.png are opaque"),
        ({"hints": Image.fromarray(IMAGE)}, TypeError, "hints are a file"),
        ({"hints": "empty.png"}, UsageError, r"the hints empty\.png are empty"),
        ({"hints": 0 * HINTS}, UsageError, "no pixel is at least half opaque"),
        ({"hints": HINTS[:20]}, UsageError, "the hints have another aspect ratio"),
        ({"samples": 0}, UsageError, "samples must be at least 1, not 0"),
    ],
)
def test_wrong_arguments_are_named(colorizer, files, monkeypatch, asked, error, message):
    monkeypatch.chdir(files)
    with pytest.raises(error, match=message):
        colorizer.colorize(IMAGE, **asked)
    if "samples" in asked:
        with pytest.raises(error, match=message):
            colorizer.prepare(IMAGE).colorize(**asked)


@pytest.mark.slow
def test_several_devices_give_the_same(colorize):
    words = ("--samples", 2, "--hints", "FILES/hints", "--label", "dog", "--device", "cpu")
    close(colorize("one", *words, code=1), colorize("two", *words, "--devices", 2, code=1))
