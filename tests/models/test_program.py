import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from torch import nn

from lightning_colorize.color import ColorBatch, to_lightness
from lightning_colorize.common.digest import sha256_of_files
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.evaluation.systems import open_system, square_view
from lightning_colorize.inference import load_model
from lightning_colorize.models.base import View
from lightning_colorize.models.program import INPUT, color_folder, write_png

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class Scaled(nn.Module):
    """Returns its first channel times factors."""

    def __init__(self, *factors):
        super().__init__()
        self.register_buffer("factors", torch.tensor(factors).view(1, -1, 1, 1))

    def forward(self, values):
        return values[:, :1] * self.factors


@pytest.fixture
def describe(tmp_path):
    """Write a TorchScript file and its description."""

    def describe(module, channels, **settings):
        file = tmp_path / "their.pt"
        torch.jit.trace(module, torch.rand(1, channels, 16, 16)).save(file)
        content = {"weights": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        (tmp_path / "their.yaml").write_text(yaml.safe_dump(content | settings))
        return tmp_path / "their.yaml"

    return describe


@pytest.fixture
def load(describe):
    return lambda *words, **settings: load_model(describe(*words, **settings), ["torch.jit"])


def _paint(model, rgb):
    """Return an image as `compare` shows it."""
    return model.model.paint("a", rgb, View(lambda image: image))


def _L(height, width):
    return torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0)) * 100


def test_values_are_normalized_and_restored(load):
    # 110 * (0.1, -0.2) * (L - 50) / 100
    given = {"form": "L", "mean": [50], "std": [100]}
    returned = {"form": "ab", "std": [110]}
    model = load(Scaled(0.1, -0.2), 1, input=given, output=returned, size=32)
    L = _L(32, 45)
    x = (L - 50) / 100
    assert torch.allclose(model.predict(L), torch.cat([11 * x, -22 * x], dim=1), atol=1e-4)
    assert model.size == 32


def test_squares_are_stretched_and_multiples_are_padded(load):
    shapes = []
    settings = {"input": {"form": "L"}, "output": {"form": "ab"}, "size": 32}
    for more in ({"square": True}, {"multiple": 16}, {}):
        model = load(Scaled(0.0, 0.0), 1, **settings, **more)
        run = model.model.run
        model.model.run = lambda values, run=run: shapes.append(values.shape[-2:]) or run(values)
        assert model.colorize(torch.zeros(3, 64, 90, dtype=torch.uint8)).shape == (3, 64, 90)
    assert [tuple(shape) for shape in shapes] == [(32, 32), (32, 48), (32, 45)]


def test_a_program_that_returns_rgb_has_its_own_lightness(load):
    model = load(Scaled(0.5, 0.5, 0.5), 3, size=32)
    rgb = (torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) * 255).byte()
    dark = _paint(model, rgb)
    assert (dark.shape, dark.dtype) == (rgb.shape, torch.uint8)
    assert to_lightness(dark[None]).mean() < 0.7 * to_lightness(rgb[None]).mean()
    assert model.predict(_L(32, 32)).abs().max() < 0.1  # grey has no color


class Halved(nn.Module):
    """Returns its input at half the size."""

    def forward(self, values):
        return nn.functional.avg_pool2d(values, 2)


def test_a_smaller_result_covers_the_whole_image(load):
    model = load(Halved(), 3, size=32, multiple=16)
    rgb = torch.zeros(3, 40, 60, dtype=torch.uint8)
    rgb[:, :, 30:] = 255
    colored = _paint(model, rgb).float().mean(dim=(0, 1))
    assert colored[:26].max() < 10
    assert colored[34:].min() > 245


class Inverse(nn.Module):
    """Returns the inverse of its input, which black does not have."""

    def forward(self, values):
        return (0.1 / values).where(values > 0, torch.nan)


def test_one_image_without_colors_leaves_the_others_of_its_batch(describe, tmp_path):
    file = describe(Inverse(), 3, size=32)
    device = torch.device("cpu")
    system = open_system("theirs", file, tmp_path, ["torch.jit"], device)
    assert system.model.sha256 == hashlib.sha256((tmp_path / "their.pt").read_bytes()).hexdigest()
    L = torch.tensor([50.0, 0.0, 70.0]).view(3, 1, 1, 1).expand(3, 1, 32, 32)
    batch = ColorBatch(L, torch.zeros(3, 2, 32, 32), ["a", "b", "c"])
    assert system.load(batch, square_view(32)) == []
    colored = system.predict(batch)
    assert colored.ab[0].isfinite().flatten(1).all(dim=1).tolist() == [True, False, True]


_WRITE = """
import sys
from pathlib import Path
from PIL import Image
given, colored = map(Path, sys.argv[1:3])
for file in given.iterdir():
    with Image.open(file) as image:
        for name, width, height in eval(sys.argv[3]):
            image.resize([width, height]).save(colored / f"{file.stem}{name}")
"""


@pytest.fixture
def write(tmp_path):
    """Run a command that writes files of these suffixes and sizes for an image of 60 x 40."""
    write_png(tmp_path / INPUT / "a.png", torch.zeros(3, 40, 60, dtype=torch.uint8))
    (tmp_path / "their.py").write_text(_WRITE)

    def write(*files):
        words = [sys.executable, str(tmp_path / "their.py"), "{input}", "{output}", repr(files)]
        return color_folder(shlex.join(words), tmp_path)

    return write


@pytest.mark.parametrize(
    ("files", "result"),
    [
        ([(".png", 60, 40), (".bmp", 60, 40), ("-mask.png", 60, 40)], "a.png"),
        ([(".png", 121, 80)], "a.png"),
        ([(".png", 32, 32)], "a.png"),
        ([(".jpg", 60, 40)], "a.jpg"),
    ],
)
def test_the_result_of_a_command_is_the_png_of_the_same_shape_or_a_square(write, files, result):
    assert {name: file.name for name, file in write(*files).items()} == {"a": result}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([(".jpg", 60, 40), (".bmp", 60, 40)], "wrote a.bmp and a.jpg for a.png"),
        ([(".png", 40, 60)], "with 40 x 60 pixels for 60 x 40"),
        ([(".png", 100, 37)], "neither the same shape nor a square"),
    ],
)
def test_a_doubtful_result_of_a_command_is_refused(write, files, message):
    with pytest.raises(WorkError, match=message):
        write(*files)


def test_a_terminated_comparison_ends_the_command_that_it_started(tmp_path):
    photographs, out = tmp_path / "photographs", tmp_path / "out"
    write_png(photographs / "a.png", torch.zeros(3, 40, 60, dtype=torch.uint8))
    write_png(photographs / "b.png", torch.zeros(3, 40, 60, dtype=torch.uint8))
    started = tmp_path / "started"
    # A shell and what it starts.
    script = f"sleep 200 & echo $! > {started}.new; mv {started}.new {started}; wait"
    (tmp_path / "their.yaml").write_text(
        f"command: sh -c {shlex.quote(script)} sh {{input}} {{output}}\n"
    )
    words = ["compare", tmp_path / "their.yaml", "--data", photographs, "--out", out]
    command = [sys.executable, "-m", "lightning_colorize", *words, "--allow-class", "command"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 120
            while not started.exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            process.terminate()
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.kill()
    while os.path.exists(f"/proc/{started.read_text().strip()}"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not [*tmp_path.glob("tmp*")]


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    file = tmp_path / "their.yaml"
    file.write_text("command: sh -c 'sleep 200; :' {input} {output}\ntimeout: 0.1\n")
    model = load_model(file, ["command"])
    with pytest.raises(WorkError, match=r"sh was ended after 0\.1 seconds"):
        model.colorize(torch.zeros(3, 20, 20, dtype=torch.uint8))


_WRONG_WEIGHTS = [
    ({"sha256": "0" * 64}, "sha256 mismatch: their.pt has [0-9a-f]{64}"),
    ({"sha256": None}, "no sha256: their.pt has"),
    ({"weights": "gone.pt"}, "gone.pt does not exist"),
    ({"weights": "their.yaml"}, "their.yaml has"),
    ({"command": "a {input} {output}"}, "give weights, a command or a pipeline"),
    ({"weights": None}, "give weights, a command or a pipeline"),
    ({"weights": None, "command": "a {input}"}, "must contain the words"),
    ({"weights": None, "command": "a {input} {output}"}, "sha256 belongs to weights"),
    ({"output": {"form": "L"}}, "the input must be L or grey"),
    ({"input": {"form": "L", "scale": 1}}, "input.scale: Extra"),
    ({"size": 4}, "size: "),
    ({"timeout": 9}, "timeout is not a valid key for this kind"),
    ({"input": {"form": "L", "mean": [1, 2]}}, "L has mean and std for 1 or 1 channels"),
    ({"input": {"form": "L", "std": [0]}}, "std must not be 0"),
    ({"input": {"form": "L", "mean": [float("nan")]}}, "input.mean.0: "),
    ({}, "their.pt cannot be read"),
]
_WRONG_PIPELINES = [
    ({"call": {"image": "a"}}, "call must not contain image"),
    ({"call": {"generator": 1}}, "call must not contain generator"),
    ({"image": "grey", "call": {"grey": "a"}}, "call must not contain grey"),
    ({"output": {"form": "rgb"}}, "output is not a valid key for this kind"),
    ({"seed": -1}, "seed: "),
    ({"weights": "a.onnx"}, "give weights, a command or a pipeline"),
    ({"pipeline": None, "weights": "a.onnx"}, "call is not a valid key for this kind"),
    ({"pipeline": "gone"}, "gone has no model_index.json"),
    ({"pipeline": "."}, "has no model_index.json"),  # not a million files below `/`
    ({"call": {"prompt": "a" * 10**6}}, "more than 1,000,000 bytes"),
    ({"sha256": "0" * 64}, "sha256 mismatch: a has [0-9a-f]{64}"),
    ({"sha256": None}, "no sha256: a has [0-9a-f]{64}"),
    ({}, r"a needs diffusers: pip install '\.\[diffusion\]'"),
]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        *(("weights", *row) for row in _WRONG_WEIGHTS),
        *(("pipeline", *row) for row in _WRONG_PIPELINES),
    ],
)
def test_a_wrong_description_is_one_line(tmp_path, monkeypatch, kind, settings, message):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    if kind == "weights":
        (tmp_path / "their.pt").write_bytes(b"no archive")
        content = {"weights": "their.pt", "sha256": hashlib.sha256(b"no archive").hexdigest()}
    else:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "model_index.json").write_text("{}")
        digest = sha256_of_files(tmp_path / "a", ["model_index.json"])
        content = {"pipeline": "a", "call": {"prompt": "a"}, "sha256": digest}
    (tmp_path / "their.yaml").write_text(yaml.safe_dump(content | settings))
    with pytest.raises(UsageError, match=message) as caught:
        load_model(tmp_path / "their.yaml", ["torch.jit"])
    assert "\n" not in str(caught.value)


def test_an_output_of_another_form_is_named(load):
    model = load(Scaled(0.0, 0.0), 3, output={"form": "rgb"})
    with pytest.raises(WorkError, match=r"shape \(1, 2, 32, 32\), not \(1, 3, height, width\)"):
        model.predict(_L(32, 32))


class Writing(nn.Module):
    """Writes a file while it is loaded."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.training = False

    def forward(self, values):
        return values

    @torch.jit.export
    def __getstate__(self):
        return (self.file, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.file = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.file)


def test_torchscript_can_write_files_and_asks_for_consent(tmp_path):
    written, file = tmp_path / "written", tmp_path / "their.pt"
    torch.jit.script(Writing(str(written))).save(str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "a.yaml").write_text(f"weights: their.pt\nsha256: {digest}\n")
    written.unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"--allow-class torch\.jit"):
        load_model(tmp_path / "a.yaml")
    assert not written.exists()
    load_model(tmp_path / "a.yaml", ["torch.jit"])
    assert written.exists()
