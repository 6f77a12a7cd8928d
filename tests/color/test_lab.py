import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_colorize.color import WHITE, LabScaling, lab, to_lab, to_lightness, to_rgb

CORNERS = torch.cartesian_prod(*[torch.tensor([0, 255], dtype=torch.uint8)] * 3)
SPECIAL = {
    "greys": [[v, v, v] for v in range(256)],  # with black and white
    "corners of the cube": CORNERS.tolist(),
    "random": np.random.default_rng(0).integers(0, 256, (4096, 3)).tolist(),
}


@pytest.fixture(params=["own", "kornia"])
def path(request, monkeypatch):
    monkeypatch.setattr(lab, "kornia_converts", lambda device: request.param == "kornia")


class CountedCreations(TorchDispatchMode):
    """Counts the tensors that are created from Python numbers."""

    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += func is torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))


def as_image(colors):
    """(N, 3) colors as an image (1, 3, 1, N)."""
    return torch.as_tensor(np.asarray(colors)).T[None, :, None]


def as_colors(*channels):
    """Images (1, C, 1, N) as colors (N, sum of C)."""
    return torch.cat(channels, dim=1)[0, :, 0].T.numpy()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32, torch.float64])
def test_to_lab_against_scikit_image(name, dtype):
    rgb = np.array(SPECIAL[name]) / 255
    image = as_image(np.rint(rgb * WHITE[dtype]) if dtype in WHITE else rgb).to(dtype)
    L, ab = to_lab(image)
    assert L.dtype == ab.dtype == torch.float32
    np.testing.assert_allclose(as_colors(L, ab), rgb2lab(rgb), atol=1e-3, rtol=0)
    torch.testing.assert_close(to_lightness(image), L, atol=1e-3, rtol=0)


@pytest.mark.usefixtures("path")
@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize("name", [*SPECIAL, "outside sRGB"])
def test_to_rgb_against_scikit_image(name):
    if name in SPECIAL:
        colors = rgb2lab(np.array(SPECIAL[name], dtype=np.uint8) / 255)
    else:
        colors = np.random.default_rng(1).uniform([0, -110, -110], [100, 110, 110], (4096, 3))
    L, ab = as_image(colors).split([1, 2], dim=1)
    rgb = to_rgb(L, ab)
    assert rgb.dtype == torch.float32
    np.testing.assert_allclose(as_colors(rgb), lab2rgb(colors), atol=1e-3, rtol=0)
    unclipped = to_rgb(L, ab, clip=False)
    torch.testing.assert_close(unclipped.clamp(0, 1), rgb)
    if name not in SPECIAL:
        assert unclipped.min() < -0.1
        assert unclipped.max() > 1.1


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.int8, torch.bool])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="uint8"):
        to_lab(torch.zeros(1, 3, 2, 2, dtype=dtype))


@pytest.mark.usefixtures("path")
def test_half_precision_predictions_are_converted_in_fp32():
    L, ab = torch.full((1, 1, 2, 2), 60.0), torch.full((1, 2, 2, 2), 30.0)
    # 30 and 60 are exact in bf16, so only the arithmetic could differ.
    assert torch.equal(to_rgb(L.bfloat16(), ab.bfloat16()), to_rgb(L, ab))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("rgb", [[0, 0, 0], [1, 1, 1], [10, 11, 10], [255, 255, 255]])
def test_gradients_are_finite_and_match_finite_differences(rgb):
    rgb = torch.tensor(rgb).view(1, 3, 1, 1) / 255
    step = 2e-4
    found = torch.autograd.functional.jacobian(lambda x: torch.cat(to_lab(x), dim=1), rgb)
    for channel in range(3):
        moved = [rgb.clone().double() for _ in range(2)]
        moved[0][0, channel] -= step
        moved[1][0, channel] += step
        low, high = (rgb2lab(m[0].permute(1, 2, 0).numpy()) for m in moved)
        expected = (high - low)[0, 0] / (2 * step)
        assert found.view(3, 3)[:, channel].tolist() == pytest.approx(expected, rel=1e-2, abs=1)


def convert(rgb, L, ab):
    return torch.cat(to_lab(rgb), dim=1), to_rgb(L, ab, clip=False)


def with_gradients(convert, autocast, *inputs):
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        there, back = convert(*inputs)
    return there, back, *torch.autograd.grad(there.sum() + back.square().sum(), inputs)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_kornia_equals_our_own_path(autocast, compiled, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(1, 3, 40, 40, generator=generator)
    rgb[..., 0], rgb[..., 1] = 0, 1
    for column, knee in enumerate((0.04045, 0.0031308, 0.008856), start=2):
        rgb[..., column] = knee + torch.linspace(-1e-4, 1e-4, 40)
    L = torch.rand(1, 1, 40, 40, generator=generator) * 100
    ab = (torch.rand(1, 2, 40, 40, generator=generator) - 0.5) * 220
    L[..., 0], L[..., 1], ab[..., 2] = 0, 100, 0
    L[..., 2] = torch.linspace(7.9, 8.1, 40)  # the knee of LAB
    ab[:, 1, :, 3] = (L[..., 3] + 16) / 116 * 200  # Z is 0
    expected = with_gradients(convert, False, rgb, L, ab)
    monkeypatch.setattr(lab, "kornia_converts", lambda device: not torch.compiler.is_compiling())
    graph = torch.compile(convert, backend="aot_eager", fullgraph=True) if compiled else convert
    found = with_gradients(graph, autocast, rgb, L, ab)
    for ours, theirs, scale in zip(expected, found, (1, 110, 1, 110, 110), strict=True):
        assert theirs.dtype == torch.float32
        torch.testing.assert_close(theirs * scale, ours * scale, atol=1e-3, rtol=1e-4)


def test_devices_that_kornia_converts_on():
    def chosen(x):
        return x + sum(lab.kornia_converts(torch.device(name)) for name in ("cuda", "mps", "xpu"))

    assert chosen(0) == 3
    assert not lab.kornia_converts(torch.device("cpu"))
    L, ab = to_lab(torch.zeros(2, 3, 4, 5, device="meta"))
    assert to_rgb(L, ab).shape == (2, 3, 4, 5)
    graph = torch.compile(chosen, backend="eager", fullgraph=True)
    assert graph(torch.zeros(())) == 0


@settings(max_examples=50)
@given(st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 2**32 - 1), st.booleans())
def test_round_trip(size, seed, floating):
    (count, *image), generator = size, torch.Generator().manual_seed(seed)
    rgb = torch.randint(0, 256, (count, 3, *image), generator=generator, dtype=torch.uint8)
    L, ab = to_lab(rgb / 255 if floating else rgb)
    assert (L.shape, ab.shape) == ((count, 1, *image), (count, 2, *image))
    assert torch.equal((to_rgb(L, ab) * 255).round().to(torch.uint8), rgb)


def test_scaling_and_back():
    scaling = LabScaling()
    ab = torch.tensor([-110.0, 0.0, 55.0, 110.0]).view(1, 2, 1, 2)
    assert scaling.normalize_ab(ab).flatten().tolist() == [-1, 0, 0.5, 1]
    torch.testing.assert_close(scaling.restore_ab(scaling.normalize_ab(ab)), ab)
    assert scaling.normalize_L(torch.tensor([0.0, 50.0, 100.0])).tolist() == [-1, 0, 1]
    assert scaling.restore_ab(torch.ones(1, 2, 1, 1, dtype=torch.bfloat16)).dtype == torch.float32


def test_constants_of_kornia_are_created_once(monkeypatch):
    monkeypatch.setattr(lab, "kornia_converts", lambda device: True)
    monkeypatch.setattr(lab._Constants, "created", {})
    images = torch.rand(1, 3, 4, 4), 50 * torch.rand(1, 1, 4, 4), torch.rand(1, 2, 4, 4)
    with torch.inference_mode():  # as a validation before training
        expected = convert(*images)
    with CountedCreations() as counted:
        there, back, *gradients = with_gradients(convert, False, *images)
    assert counted.number == 0
    assert torch.equal(there, expected[0])
    assert torch.equal(back, expected[1])
    assert all(gradient.any() for gradient in gradients)
