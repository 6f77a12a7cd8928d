"""A model of one's own is one file: it then works in every command and in Python."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.cli import main
from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import Colorizer, load_model

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "models.md"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write the page's example; return its YAML, the class and the setting of its own."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "own_page.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    cls = importlib.import_module("own_page").Tinted
    file = tmp_path / "own.yaml"
    file.write_text("class_path: own_page.Tinted\n")
    (setting,) = cls.settings.names()[:-2]
    yield file, cls, setting
    sys.modules.pop("own_page")


def _run(file, cls, command, *words):
    return main([*map(str, (command, *words)), "--allow-class", cls.__module__])


def _limits(cls, setting):
    low, high, _ = cls.settings.sliders()[setting]
    return low, high


def test_colorize(own, photo_folder, tmp_path):
    file, cls, setting = own
    low, high = _limits(cls, setting)
    for value in (low, high, high):
        words = [photo_folder / "test", tmp_path / f"{value}", "--checkpoint", file, "--overwrite"]
        assert _run(file, cls, "colorize", *words, f"--{setting}", value, "--quiet") == 0
    (name, *_) = sorted(path.name for path in (tmp_path / f"{low}").glob("*.png"))
    images = [np.asarray(Image.open(tmp_path / f"{v}" / name), int) for v in (low, high)]
    assert not np.array_equal(*images)
    # The seed is fixed, and the other images of a batch do not count.
    alone = tmp_path / "alone.png"
    words = [photo_folder / "test" / name, alone, "--checkpoint", file, f"--{setting}={high}"]
    assert _run(file, cls, "colorize", *words, "--quiet") == 0
    assert np.array_equal(np.asarray(Image.open(alone)), images[1])


def test_evaluate_and_tune_decoding(own, photo_folder, tmp_path):
    file, cls, setting = own
    low, high = _limits(cls, setting)
    found = {}
    for value in (low, high):
        words = [file, "--data", photo_folder, "--json", tmp_path / "evaluated.json"]
        assert _run(file, cls, "evaluate", *words, f"--{setting}", value) == 0
        found[value] = json.loads((tmp_path / "evaluated.json").read_text())["metrics"]["model"]
    assert found[low] != found[high]
    words = [file, f"{setting}={low},{high}", "--data", photo_folder, "--split", "test"]
    assert _run(file, cls, "tune-decoding", *words, "--json", tmp_path / "tuned.json") == 0
    tuned = json.loads((tmp_path / "tuned.json").read_text())["settings"]
    for each in tuned:
        measured = {name: row["value"] for name, row in each["metrics"].items()}
        expected = found[each["setting"][setting]]
        assert measured == pytest.approx({n: expected[n] for n in measured}, rel=1e-5, nan_ok=True)


def test_compare_and_protocol(own, photo_folder, tmp_path):
    file, cls, setting = own
    (tmp_path / "small.yaml").write_text("size: 32\nshape: crop\n")
    compare = ["compare", f"system={file}", "--out", tmp_path / "page", "--overwrite"]
    protocol = ["protocol", tmp_path / "small.yaml", file, "--overwrite"]
    for words, key in ((compare, "metrics"), (protocol, "rows")):
        rows = []
        for value in _limits(cls, setting):
            more = ["--data", photo_folder, "--json", tmp_path / "a.json", f"--{setting}", value]
            assert _run(file, cls, *words, *more) == 0
            rows.append(json.loads((tmp_path / "a.json").read_text())[key])
        assert rows[0]["system"] != rows[1]["system"]
        assert rows[0]["grey"] == rows[1]["grey"]


def test_demo_has_its_slider(own, photo_folder):
    pytest.importorskip("gradio")
    from lightning_colorize.inference.demo import build_demo

    file, cls, setting = own
    page = build_demo({"own": load_model(file, [cls.__module__])}, 10**6)
    sliders = {
        block.label: (block.minimum, block.maximum, block.value)
        for block in page.blocks.values()
        if type(block).__name__ == "Slider"
    }
    assert sliders[setting.capitalize()] == (*_limits(cls, setting), getattr(cls.settings, setting))
    calls = {each.name: each.fn for each in page.fns.values()}
    seen = calls["predict"](str(photo_folder / "test" / "030.png"), None)
    shown = [calls["show"](seen, value, 1.0)[1] for value in _limits(cls, setting)]
    assert not np.array_equal(*shown)


def test_python(own, photo_folder):
    file, cls, setting = own
    low, high = _limits(cls, setting)
    colorizer = Colorizer(cls())
    image = Image.open(photo_folder / "test" / "030.png")
    seen = colorizer.prepare(image)
    assert seen.colorize(**{setting: low}) != seen.colorize(**{setting: high})
    L = torch.full((2, 1, 16, 16), 50.0)
    model = cls()
    samples = model.color(L, n=3)
    assert samples.shape == (3, 2, 2, 16, 16)
    assert not torch.equal(samples[0], samples[1])
    assert torch.equal(model.color(L[:1], n=3), samples[:, :1])
    generators = model.generators(L)  # on the CPU, wherever the model is
    model.to(torch.device("meta"))
    assert model.color(L.to(model.device), generators=generators).device == model.device
    with pytest.raises(UsageError, match="refused"):
        load_model(file)  # its class is not allowed
