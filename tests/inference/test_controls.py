"""Samples, hints, palettes, labels and prompts: of the command and in Python."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference.colorizer import Colorizer
from lightning_colorize.losses import L1
from lightning_colorize.networks import ConditionedEncoder, ConvEncoder, Denoiser, UpsampleDecoder
from lightning_colorize.networks.base import TextEncoder
from lightning_colorize.tasks import GenerativeTask, RegressionTask
from tests.conftest import make_image, read_lines


class Length(TextEncoder):
    """Encodes a text by its length."""

    width = 2

    def __call__(self, texts):
        return torch.tensor([[1, len(text)] for text in texts]).float()


def _colorizer(task=GenerativeTask, text=None, **options):
    """Return an untrained network in which everything that is given has an effect."""
    torch.manual_seed(0)
    inner = ConvEncoder(widths=[8, 16, 16])
    encoder = ConditionedEncoder(inner, labels=["cat", "dog"], text=text, width=16)
    if task is GenerativeTask:
        options = {
            "decoder": UpsampleDecoder,
            "denoiser": partial(Denoiser, width=48),
            "ema_decay": None,
        }
    model = task(encoder=encoder, loss=L1(), **options).eval().to_model()
    with torch.no_grad():
        first = next(module for module in inner.modules() if isinstance(module, nn.Conv2d))
        first.weight[:, 1:].normal_(0, 0.3)
        for weight in model.network.parameters():
            if not weight.any():
                weight.normal_(0, 0.1)
    model.size = 32
    return Colorizer(model)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Exported models, images, and hints and controls for some; read only."""
    folder = tmp_path_factory.mktemp("files")
    _colorizer().export(folder / "sampler.safetensors")
    _colorizer(RegressionTask).export(folder / "guided.safetensors")
    (folder / "in/sub").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.png", "sub/c.png", "wide.jpg")):
        make_image(number, 60 + 40 * (name == "wide.jpg"), 45).save(folder / "in" / name)
    (folder / "hints/sub").mkdir(parents=True)
    for name, size in (("a.png", (121, 90)), ("sub/c.webp", (40, 30)), ("wide.png", (60, 45))):
        _painted(size).save(folder / "hints" / name, lossless=True)
    _painted((60, 45)).save(folder / "other.png")
    return folder


def _painted(size):
    hints = Image.new("RGBA", size)
    width, height = size
    hints.paste("red", (width // 4, height // 4, width // 2, height // 2))
    return hints


@pytest.fixture
def colorize(command, files, tmp_path, capsys):
    """Return a function that colorizes into a folder of PNGs: the bytes of each, by name."""

    def call(name, *words, source="in", model="sampler", code=0):
        words = [str(word).replace("FILES", str(files)) for word in words]
        checkpoint = ("--checkpoint", files / f"{model}.safetensors", "--format", "png")
        assert command("colorize", files / source, tmp_path / name, *checkpoint, *words) == code
        paths = sorted((tmp_path / name).rglob("*.png"))
        return {p.relative_to(tmp_path / name).as_posix(): p.read_bytes() for p in paths}

    return call


def test_samples_do_not_depend_on_their_number_or_the_batch(colorize, files, tmp_path):
    together = colorize("eight", "--samples", 3, "--seed", 5)
    alone = colorize("one", "--samples", 2, "--seed", 5, "--batch-size", 1)
    assert list(together)[:4] == ["a_1.png", "a_2.png", "a_3.png", "b_1.png"]
    assert {name: together[name] for name in alone} == alone
    assert len(set(together.values())) == 12  # all differ
    assert colorize("none", "--seed", 5)["sub/c.png"] == alone["sub/c_1.png"]
    assert colorize("other", "--seed", 6)["sub/c.png"] != alone["sub/c_1.png"]
    python = Colorizer.from_pretrained(files / "sampler.safetensors")
    images = [files / "in/a.jpg", files / "in/sub/c.png"]
    asked = python.colorize_all(images, samples=2, seed=5)
    for name, colored in zip(("a", "sub/c"), asked, strict=True):
        for number, image in enumerate(colored, start=1):
            written = Image.open(tmp_path / f"one/{name}_{number}.png")
            np.testing.assert_array_equal(np.asarray(image), np.asarray(written))


def test_the_manifest_says_how_and_only_complete_results_are_skipped(colorize, tmp_path, capsys):
    words = ("--samples", 2, "--seed", 5, "--variety", 0.5, "--palette", "red", "--label", "dog")
    before = colorize("out", *words, "--hints", "FILES/hints", source="in/a.jpg")
    (line,) = read_lines(tmp_path / "out/manifest.jsonl")
    assert line["output"] == str(tmp_path / "out/a_1.png")
    assert (line["samples"], line["seed"], line["settings"]["variety"]) == (2, 5, 0.5)
    hints = line["control"].pop("hints")
    assert hints.endswith("hints/a.png")
    assert line["control"] == {"palette": [[80.09, 67.2, 1.0]], "label": "dog"}
    (tmp_path / "out/a_2.png").unlink()
    capsys.readouterr()
    assert colorize("out", *words, "--hints", "FILES/hints", source="in/a.jpg") == before
    assert "1 colorized, 0 skipped" in capsys.readouterr().out
    colorize("out", *words, source="in/a.jpg")
    assert "0 colorized, 1 skipped" in capsys.readouterr().out


def test_one_file_and_a_sheet_of_samples(colorize, tmp_path):
    assert list(colorize("x/y.png", "--samples", 2, source="in/a.jpg")) == []
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["y_1.png", "y_2.png"]
    colorize("out", "--samples", 2, "--sheet")
    with Image.open(tmp_path / "out/sheet.jpg") as sheet:
        tiles = np.asarray(sheet.resize((6, 2), Image.Resampling.BOX), dtype=int)
    chroma = np.ptp(tiles, axis=2).mean(axis=0)  # grey, two samples, grey, two samples
    assert chroma[[0, 3]].max() < 1 < chroma[[1, 2, 4, 5]].min()


def test_a_dry_run_counts_all_samples(colorize, capsys):
    printed = []
    for samples in (1, 3):
        assert colorize("out", "--samples", samples, "--dry-run", "--json") == {}
        printed.append(json.loads(capsys.readouterr().out))
    assert [found["tried"] for found in printed] == [4, 4]
    assert printed[1]["written"] == pytest.approx(3 * printed[0]["written"], rel=0.2)


@pytest.mark.parametrize("model", ["sampler", "guided"])
def test_hints_belong_to_the_image_of_their_name(colorize, tmp_path, model, capsys):
    plain = colorize("plain", model=model)
    hinted = colorize("hinted", "--hints", "FILES/hints", model=model, code=1)
    assert plain["b.png"] == hinted["b.png"]
    assert all(plain[name] != hinted[name] for name in ("a.png", "sub/c.png"))
    assert "wide.png" not in hinted
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("another aspect ratio than the image: 60 x 45 pixels, the image 100 x 45")
    lone = colorize("lone", "--hints", "FILES/hints/a.png", source="in/a.jpg", model=model)
    assert lone["a.png"] == hinted["a.png"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_of_controls_is_as_the_options(colorize, files, tmp_path, suffix):
    rows = [
        {"image": "in/a.jpg", "hints": "hints/a.png", "label": "cat"},
        {"image": "in/b.png", "palette": "#ff0000,navy"},
        {"image": "in/sub/c.png", "palette": "in/a.jpg", "label": ""},
    ]
    lines = [json.dumps(row) for row in rows]
    if suffix == "csv":
        lines = ["image,label,palette,hints", "in/a.jpg,cat,,hints/a.png"]
        lines += ['in/b.png,,"#ff0000,navy",', "in/sub/c.png,,in/a.jpg,"]
    (file := files / f"controls.{suffix}").write_text("\n".join(lines) + "\n", "utf-8-sig")
    together = colorize("file", "--controls", file, "--label", "dog", model="guided")
    for source, *words in (
        ("a.jpg", "--hints", "FILES/hints", "--label", "cat"),
        ("b.png", "--palette", "#ff0000, navy", "--label", "dog"),
        ("sub/c.png", "--palette", "FILES/in/a.jpg", "--label", "dog"),
        ("wide.jpg", "--label", "dog"),
    ):
        (result,) = colorize(source[:-4], *words, source=f"in/{source}", model="guided").values()
        assert together[source.replace(".jpg", ".png")] == result
    assert len(set(together.values()) & set(colorize("plain", model="guided").values())) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--samples 0", "--samples: 0 must be at least 1"),
        ("--seed -1", "--seed: -1 must be at least 0"),
        ("guided --samples 2", "deterministic and has one coloring per image, not 2"),
        ("RUN --palette red --label cat", "accepts no conditions, not label, palette"),
        ("RUN --hints FILES/hints", "accepts no conditions, not hints"),
        ("--prompt x", "accepts hints, label, palette, not prompt"),
        ("--label cow", "has no label cow; its labels are cat, dog"),
        ("--palette rde", "nor is 'rde' a color"),
        ("--hints none", "none is not a folder; for one image, give a file or a folder"),
        ("--hints FILES/other.png", "other.png is not a folder"),
        ("--hints FILES/in/sub --limit 1", "has no image named as one of INPUT, such as wide.png"),
        ("--hints FILES/in", "is inside INPUT"),
        ("--controls none.csv", "none.csv cannot be read: No such file"),
        ("image,lable\na.jpg", "table.csv, row 1, of CSV: unknown column lable; the columns are"),
        ("image,label\na.jpg,,", "row 1, of CSV: unknown column beyond the header"),
        ("image,palette\nd.jpg,red", "in/d.jpg is not an image of INPUT"),
        ("image,palette\n,red", "row 1, of CSV: the column image is empty"),
        ("image,palette\na.jpg,red\n./a.jpg", "in/a.jpg is in a row above already"),
        ("image,palette\na.jpg,rde", "row 1, of CSV: palette: "),
        ("image,label\na.jpg,cat\nb.png,cow", "has no label cow"),
        ('{"image": "a.jpg"}\n{"image"', "row 2, of JSON lines, as its name does not end with"),
        ("[3]", "unknown column [3]"),
    ],
)
def test_what_cannot_be_is_one_line_before_work(
    error_of, files, finished_run, tmp_path, words, message
):
    if "--" not in words:
        table = files / "in" / ("table.csv" if words.startswith("image") else "table.txt")
        table.write_text(words)
        words = f"--controls {table}"
    words = words.replace("FILES", str(files)).split()
    models = {"RUN": finished_run, "guided": files / "guided.safetensors"}
    model = models[words.pop(0)] if words[0] in models else files / "sampler.safetensors"
    out = tmp_path / "out"
    assert message in error_of("colorize", files / "in", out, "--checkpoint", model, *words)
    assert not out.exists()


@pytest.mark.slow
def test_several_devices_give_the_same(colorize):
    words = ("--samples", 2, "--hints", "FILES/hints", "--label", "dog", "--device", "cpu")
    assert colorize("one", *words, code=1) == colorize("two", *words, "--devices", 2, code=1)


IMAGE = np.asarray(make_image(1, 60, 45))  # in/b.png
HINTS = np.asarray(_painted((60, 45)))  # other.png


@pytest.fixture(scope="module")
def colorizer():
    return _colorizer(text=Length())


def test_samples_are_a_list_of_what_was_given(colorizer):
    single = colorizer.colorize(IMAGE, seed=3)
    samples = colorizer.colorize(IMAGE, samples=3, seed=3)
    np.testing.assert_array_equal(samples[0], single)
    assert len(samples) == 3
    assert (samples[1] != single).any()
    (image,) = colorizer.colorize(Image.fromarray(IMAGE), samples=1, seed=3)
    np.testing.assert_array_equal(np.asarray(image), single)
    prediction = colorizer.prepare(IMAGE)
    for own, sample in zip(prediction.colorize(samples=2, seed=3), samples, strict=False):
        np.testing.assert_array_equal(own.permute(1, 2, 0), sample)
    assert not torch.equal(prediction.colorize(variety=0), prediction.colorize(seed=3))


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        (
            "hints",
            [HINTS, Image.fromarray(HINTS), torch.tensor(HINTS).movedim(-1, 0), "FILES/other.png"],
        ),
        ("palette", ["red,navy", ["#f00", "#000080"], ("red:2", "navy:2")]),
        ("palette", [IMAGE, Image.fromarray(IMAGE), "FILES/in/b.png"]),
        ("label", ["cat"]),
        ("prompt", ["a cat"]),
    ],
)
def test_all_forms_of_what_is_asked_are_the_same(colorizer, files, name, forms):
    forms = [str(files) + f[5:] if isinstance(f, str) and "FILES" in f else f for f in forms]
    plain = colorizer.colorize(IMAGE)
    first = colorizer.colorize(IMAGE, **{name: forms[0]})
    assert (first != plain).any()
    for form in forms[1:]:
        np.testing.assert_array_equal(colorizer.colorize(IMAGE, **{name: form}), first)
    prepared = colorizer.prepare(IMAGE, **{name: forms[0]}).colorize()
    np.testing.assert_array_equal(prepared.permute(1, 2, 0), first)
    asked = [forms[0]] if name == "hints" else forms[0]  # the second image has no hints
    both = list(colorizer.colorize_all([IMAGE, IMAGE], **{name: asked}))
    np.testing.assert_array_equal(both, [first, plain if name == "hints" else first])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"hints": IMAGE}, TypeError, "hints are a file"),
        ({"hints": Image.fromarray(IMAGE)}, TypeError, "hints are a file"),
        ({"hints": HINTS.astype(float)}, TypeError, "in uint8"),
        ({"hints": HINTS[:20]}, UsageError, "the hints have another aspect ratio"),
        ({"palette": 3}, TypeError, "not <class 'int'>"),
        ({"palette": ["rde"]}, UsageError, "nor is 'rde' a color"),
        ({"label": "cow"}, UsageError, "has no label cow"),
        ({"samples": 0}, UsageError, "samples must be at least 1, not 0"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_wrong_arguments_are_named(colorizer, asked, error, message):
    with pytest.raises(error, match=message):
        colorizer.colorize(IMAGE, **asked)


@pytest.mark.parametrize("asked", [{"samples": 2}, {"palette": "red"}, {"hints": HINTS}])
def test_a_model_without_conditions_refuses_them(asked):
    with pytest.raises(UsageError, match=r"accepts no conditions|is deterministic"):
        Colorizer.from_pretrained().colorize(IMAGE, **asked)
