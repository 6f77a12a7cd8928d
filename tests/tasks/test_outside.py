import hashlib

import pytest
import torch
import yaml
from torch import nn

from lightning_colorize.color import to_lightness
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.inference import load_model
from lightning_colorize.tasks.outside import OutsideNetwork


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


def _load(file):
    return load_model(file, ["torch.jit"])


def _L(height, width):
    return torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0)) * 100


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_values_are_normalized_and_restored(describe):
    # 110 * (0.1, -0.2) * (L - 50) / 100
    model = _load(
        describe(
            Scaled(0.1, -0.2),
            1,
            input={"form": "L", "mean": [50], "std": [100]},
            output={"form": "ab", "std": [110]},
            size=32,
        )
    )
    L = _L(32, 45)
    x = (L - 50) / 100
    assert torch.allclose(model.predict(L), torch.cat([11 * x, -22 * x], dim=1), atol=1e-4)
    assert model.size == 32


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_squares_are_stretched_and_multiples_are_padded(describe):
    shapes = []
    settings = {"input": {"form": "L"}, "output": {"form": "ab"}, "size": 32}
    for more in ({"square": True}, {"multiple": 16}, {}):
        model = _load(describe(Scaled(0.0, 0.0), 1, **settings, **more))
        net = model.task.net
        assert isinstance(net, OutsideNetwork)
        run = net.run
        net.run = lambda values, run=run: shapes.append(values.shape[-2:]) or run(values)
        assert model.colorize(torch.zeros(3, 64, 90, dtype=torch.uint8)).shape == (3, 64, 90)
    assert [tuple(shape) for shape in shapes] == [(32, 32), (32, 48), (32, 45)]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_program_that_returns_rgb_has_its_own_lightness(describe):
    file = describe(Scaled(0.5, 0.5, 0.5), 3, size=32)
    rgb = (torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) * 255).byte()
    net = _load(file).task.net
    dark = net.color(rgb)
    assert (dark.shape, dark.dtype) == (rgb.shape, torch.uint8)
    assert to_lightness(dark[None]).mean() < 0.7 * to_lightness(rgb[None]).mean()
    assert net(_L(32, 32)).abs().max() < 0.1  # grey has no color


class Halved(nn.Module):
    """Returns its input at half the size."""

    def forward(self, values):
        return nn.functional.avg_pool2d(values, 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_smaller_result_covers_the_whole_image(describe):
    net = _load(describe(Halved(), 3, size=32, multiple=16)).task.net
    rgb = torch.zeros(3, 40, 60, dtype=torch.uint8)
    rgb[:, :, 30:] = 255
    colored = net.color(rgb).float().mean(dim=(0, 1))
    assert colored[:26].max() < 10
    assert colored[34:].min() > 245


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_result_that_is_not_finite_is_no_color(describe):
    net = _load(describe(Scaled(torch.nan, 1.0, 1.0), 3, size=32)).task.net
    with pytest.raises(FloatingPointError):
        net.color(torch.zeros(3, 40, 60, dtype=torch.uint8))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sha256": "0" * 64}, "has another sha256; that of their.pt is [0-9a-f]{64}"),
        ({"sha256": None}, "has no sha256; that of their.pt is"),
        ({"weights": "gone.pt"}, "gone.pt does not exist"),
        ({"weights": "their.yaml"}, "that of their.yaml is"),
        ({"command": "a {input} {output}"}, "give weights, a command or a pipeline"),
        ({"weights": None}, "give weights, a command or a pipeline"),
        ({"weights": None, "command": "a {input}"}, "must contain the words"),
        ({"weights": None, "command": "a {input} {output}"}, "sha256 is that of weights"),
        ({"output": {"form": "L"}}, "the input is L or grey"),
        ({"input": {"form": "L", "scale": 1}}, "input.scale: Extra"),
        ({"size": 4}, "size: "),
        ({"input": {"form": "L", "mean": [1, 2]}}, "L has mean and std for 1 or 1 channels"),
        ({"input": {"form": "L", "std": [0]}}, "std must not be 0"),
        ({"input": {"form": "L", "mean": [float("nan")]}}, "input.mean.0: "),
    ],
)
def test_a_wrong_description_is_one_line(describe, settings, message):
    with pytest.raises(UsageError, match=message) as caught:
        _load(describe(Scaled(0.0, 0.0), 1, **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_an_output_of_another_form_is_named(describe):
    model = _load(describe(Scaled(0.0, 0.0), 3, output={"form": "rgb"}))
    with pytest.raises(WorkError, match=r"shape \(1, 2, 32, 32\), not \(1, 3, height, width\)"):
        model.predict(_L(32, 32))


def test_damaged_weights_are_one_line(tmp_path):
    (tmp_path / "their.pt").write_bytes(b"no archive")
    digest = hashlib.sha256(b"no archive").hexdigest()
    (tmp_path / "a.yaml").write_text(f"weights: their.pt\nsha256: {digest}\n")
    with pytest.raises(UsageError, match=r"their.pt cannot be read") as caught:
        _load(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


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


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_can_write_files_and_asks_for_consent(tmp_path):
    written, file = tmp_path / "written", tmp_path / "their.pt"
    torch.jit.script(Writing(str(written))).save(str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "a.yaml").write_text(f"weights: their.pt\nsha256: {digest}\n")
    written.unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"--allow-class torch\.jit") as caught:
        load_model(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)
    assert not written.exists()
    _load(tmp_path / "a.yaml")
    assert written.exists()
