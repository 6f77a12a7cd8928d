import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab

from lightning_colorize.color import AB_SCALE, LabScaling, to_lab, to_rgb

CORNERS = torch.cartesian_prod(*[torch.tensor([0, 255], dtype=torch.uint8)] * 3)
SPECIAL = {
    "black": [[0, 0, 0]],
    "white": [[255, 255, 255]],
    "greys": [[v, v, v] for v in range(256)],
    "corners of the cube": CORNERS.tolist(),
    "random": np.random.default_rng(0).integers(0, 256, (4096, 3)).tolist(),
}


def as_image(colors):
    """(N, 3) colors as an image (1, 3, 1, N)."""
    return torch.as_tensor(np.asarray(colors)).T[None, :, None]


def as_colors(*channels):
    """Images (1, C, 1, N) as colors (N, sum of C)."""
    return torch.cat(channels, dim=1)[0, :, 0].T.numpy()


@pytest.mark.parametrize("name", SPECIAL)
def test_to_lab_against_scikit_image(name):
    rgb = np.array(SPECIAL[name], dtype=np.uint8)
    L, ab = to_lab(as_image(rgb))
    assert L.dtype == ab.dtype == torch.float32
    np.testing.assert_allclose(as_colors(L, ab), rgb2lab(rgb / 255), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", SPECIAL)
def test_to_rgb_against_scikit_image(name):
    lab = rgb2lab(np.array(SPECIAL[name], dtype=np.uint8) / 255)
    image = as_image(lab)
    rgb = to_rgb(image[:, :1], image[:, 1:])
    assert rgb.dtype == torch.float32
    np.testing.assert_allclose(as_colors(rgb), lab2rgb(lab), atol=1e-3, rtol=0)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_colors_outside_srgb_against_scikit_image():
    lab = np.random.default_rng(1).uniform([0, -110, -110], [100, 110, 110], (4096, 3))
    image = as_image(lab)
    L, ab = image[:, :1], image[:, 1:]
    np.testing.assert_allclose(as_colors(to_rgb(L, ab)), lab2rgb(lab), atol=1e-3, rtol=0)
    unclipped = to_rgb(L, ab, clip=False)
    assert unclipped.min() < -0.1
    assert unclipped.max() > 1.1
    torch.testing.assert_close(unclipped.clamp(0, 1), to_rgb(L, ab))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.int8, torch.bool])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="uint8"):
        to_lab(torch.zeros(1, 3, 2, 2, dtype=dtype))


def test_autocast_changes_nothing():
    rgb = as_image(np.array(SPECIAL["random"], dtype=np.uint8))
    L, ab = to_lab(rgb)
    back = to_rgb(L, ab)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # Whether autocast is really on here.
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        L16, ab16 = to_lab(rgb)
        back16 = to_rgb(L16, ab16)
    assert L16.dtype == ab16.dtype == back16.dtype == torch.float32
    assert torch.equal(L, L16)
    assert torch.equal(ab, ab16)
    assert torch.equal(back, back16)


def test_half_precision_predictions_are_converted_in_fp32():
    ab = torch.full((1, 2, 2, 2), 30.0)
    L = torch.full((1, 1, 2, 2), 60.0)
    # 30 and 60 are exact in bf16, so only the arithmetic could differ.
    assert torch.equal(to_rgb(L.bfloat16(), ab.bfloat16()), to_rgb(L, ab))


@pytest.mark.parametrize("rgb", [[0, 0, 0], [1, 1, 1], [10, 11, 10], [255, 255, 255]])
def test_gradients_are_finite_and_match_finite_differences(rgb):
    rgb = torch.tensor(rgb).view(1, 3, 1, 1) / 255
    step = 2e-4
    for channel in range(3):
        moved = [rgb.clone().double() for _ in range(2)]
        moved[0][0, channel] -= step
        moved[1][0, channel] += step
        low, high = (rgb2lab(m[0].permute(1, 2, 0).numpy()) for m in moved)
        expected = (high - low)[0, 0] / (2 * step)
        for output in range(3):
            leaf = rgb.clone().requires_grad_()
            torch.cat(to_lab(leaf), dim=1)[0, output].backward()
            assert leaf.grad[0, channel].item() == pytest.approx(expected[output], rel=1e-2, abs=1)


def test_gradients_of_black_and_of_colors_outside_srgb_are_finite():
    L = torch.tensor([0.0, 0.0, 8.0, 50.0, 100.0]).view(1, 1, 1, 5).requires_grad_()
    ab = torch.tensor([0.0, 110.0, -110.0, 110.0, 110.0]).expand(1, 2, 1, 5).clone()
    to_rgb(L, ab.requires_grad_(), clip=False).sum().backward()
    assert L.grad.isfinite().all()
    assert ab.grad.isfinite().all()


def test_lab_range_of_srgb():
    # The extremes lie on the cube's surface; every second step of its six faces.
    steps = torch.arange(0, 256, 3, dtype=torch.uint8)
    u, v = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    faces = []
    for value in (0, 255):
        w = torch.full_like(u, value)
        faces += [torch.stack(face, dim=1) for face in ((u, v, w), (u, w, v), (w, u, v))]
    L, ab = to_lab(as_image(torch.cat(faces)))
    a, b = ab[0]
    assert L.min().item() == pytest.approx(0, abs=1e-3)
    assert L.max().item() == pytest.approx(100, abs=1e-3)
    assert [a.min().item(), a.max().item()] == pytest.approx([-86.2, 98.2], abs=0.1)
    assert [b.min().item(), b.max().item()] == pytest.approx([-107.9, 94.5], abs=0.1)
    assert ab.abs().max() < AB_SCALE


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_round_trip(height, width, count, seed, floating):
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    L, ab = to_lab(rgb / 255 if floating else rgb)
    assert L.shape == (count, 1, height, width)
    assert ab.shape == (count, 2, height, width)
    back = (to_rgb(L, ab) * 255).round().to(torch.uint8)
    assert torch.equal(back, rgb)


def test_scaling_and_back():
    scaling = LabScaling()
    ab = torch.tensor([-110.0, 0.0, 55.0, 110.0]).view(1, 2, 1, 2)
    assert scaling.normalize_ab(ab).flatten().tolist() == [-1, 0, 0.5, 1]
    torch.testing.assert_close(scaling.restore_ab(scaling.normalize_ab(ab)), ab)
    L = torch.tensor([0.0, 50.0, 100.0]).view(1, 1, 1, 3)
    assert scaling.normalize_L(L).flatten().tolist() == [-1, 0, 1]
    assert scaling.restore_ab(torch.ones(1, 2, 1, 1, dtype=torch.bfloat16)).dtype == torch.float32


def test_scale_is_in_the_state_dict():
    state = LabScaling(128.0).state_dict()
    assert state["ab_scale"].item() == 128.0
    other = LabScaling()
    other.load_state_dict(state)
    assert other.normalize_ab(torch.tensor(64.0)) == 0.5
