import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn.functional import avg_pool2d

from lightning_colorize.color import to_lab
from lightning_colorize.metrics import (
    batch_metrics,
    colorization_metrics,
    diversity_ratio,
    per_image,
)
from lightning_colorize.metrics.functional import measure
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.spec import COLUMNS, METRICS

pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")


def as_rgb(L, ab, index):
    """One image by scikit-image, (H, W, 3) float64."""
    return lab2rgb(torch.cat([L, ab], dim=1)[index].movedim(0, -1).double().numpy())


def reference(L, ab_hat, ab, index):
    """The values of one image by scikit-image and numpy."""
    rgb_hat, rgb = as_rgb(L, ab_hat, index), as_rgb(L, ab, index)
    # scikit-image leaves a border of half a window out; torchmetrics mirrors the image there.
    # On an image that is mirrored by hand both average over the same pixels.
    mirrored = [np.pad(p, ((5, 5), (5, 5), (0, 0)), mode="reflect") for p in (rgb_hat, rgb)]
    return {
        "mse_ab": np.mean((ab_hat[index] - ab[index]).numpy() ** 2),
        "mae_ab": np.mean(np.abs((ab_hat[index] - ab[index]).numpy())),
        "psnr": peak_signal_noise_ratio(rgb, rgb_hat, data_range=1),
        "ssim": structural_similarity(
            *mirrored,
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        ),
        "ciede2000": deltaE_ciede2000(rgb2lab(rgb), rgb2lab(rgb_hat)).mean(),
        "colorfulness": colorfulness_by_hand(rgb_hat),
    }


def colorfulness_by_hand(rgb):
    """Hasler & Suesstrunk's M3 (their equation for RGB), in numpy."""
    red, green, blue = np.moveaxis(rgb * 255, -1, 0)
    rg, yb = red - green, 0.5 * (red + green) - blue
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


def test_fifty_photographs_against_scikit_image(photographs):
    """Within limits that a published table can rely on, for each image."""
    L, ab = to_lab(photographs)
    # Paler by another share, blurred and with a cast: what colorizers do.
    share = torch.linspace(0, 1.3, 50).view(-1, 1, 1, 1)
    cast = torch.linspace(-8, 8, 50).view(-1, 1, 1, 1)
    ab_hat = share * avg_pool2d(ab, 5, 1, 2, count_include_pad=False) + cast
    values = per_image(L, ab_hat, ab)
    limits = {"psnr": 0.01, "ssim": 0.001, "ciede2000": 0.01, "mse_ab": 0.01, "mae_ab": 0.001}
    limits["colorfulness"] = 0.01
    assert values.keys() == limits.keys() == {m.name for m in METRICS if m.per_image}
    for index in range(50):
        for name, expected in reference(L, ab_hat, ab, index).items():
            assert values[name][index].item() == pytest.approx(expected, abs=limits[name]), name


def test_mean_colors(images):
    L, ab_hat, ab = images
    values = dict(zip(COLUMNS, measure(ImagePair(L, ab_hat, ab)), strict=True))
    for channel, name in enumerate(("mean_a", "mean_b")):
        np.testing.assert_allclose(values[name], ab_hat[:, channel].mean((1, 2)), atol=1e-4)
        np.testing.assert_allclose(values[f"true_{name}"], ab[:, channel].mean((1, 2)), atol=1e-4)


def test_half_precision_predictions_are_measured_in_fp32(images):
    L, ab_hat, ab = images
    ab_hat = ab_hat.bfloat16()
    measured = measure(ImagePair(L, ab_hat.requires_grad_(), ab))
    assert torch.equal(measured, measure(ImagePair(L, ab_hat.float(), ab)))
    assert not measured.requires_grad


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 10), (11, 11)])
def test_images_smaller_than_the_window_of_ssim(size):
    L, ab = to_lab(torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(2)))
    values = per_image(L, 0.5 * ab, ab)
    for name, value in values.items():
        assert value.shape == (2,), name
        assert value.isfinite().all(), name
    assert (values["ssim"] < 1).all()
    assert per_image(L, ab, ab)["ssim"].tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


def test_small_images_are_extended_for_ssim():
    L, ab = to_lab(torch.rand(1, 3, 20, 4, generator=torch.Generator().manual_seed(3)))
    small = (L, 0.5 * ab, ab)
    extended = [torch.cat([x, *[x[..., -1:]] * 7], dim=-1) for x in small]
    torch.testing.assert_close(per_image(*small)["ssim"], per_image(*extended)["ssim"])


def test_a_change_of_lightness_is_an_error(images):
    L, _, ab = images
    values = dict(zip(COLUMNS, measure(ImagePair(L, ab, ab, 0.9 * L)), strict=True))
    for index in range(len(L)):
        rgb_hat, rgb = as_rgb(0.9 * L, ab, index), as_rgb(L, ab, index)
        psnr = peak_signal_noise_ratio(rgb, rgb_hat, data_range=1)
        assert values["psnr"][index].item() == pytest.approx(psnr, abs=0.01)
        delta = deltaE_ciede2000(rgb2lab(rgb), rgb2lab(rgb_hat)).mean()
        assert values["ciede2000"][index].item() == pytest.approx(delta, abs=0.01)


@pytest.mark.parametrize("autocast", [False, True])
def test_ratio_and_correlation_of_a_batch_equal_validation(images, autocast):
    validation = colorization_metrics()
    validation.update(*images)
    expected = validation.compute()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        metrics = batch_metrics(images[0], images[1].requires_grad_(), images[2])
    assert not any(metric.requires_grad for metric in metrics.values())
    assert set(metrics) == {"colorfulness_ratio", "ab_corr", "diversity"}
    for name in ("colorfulness_ratio", "ab_corr"):
        assert metrics[name].item() == pytest.approx(expected[name].item(), rel=1e-4)


def tinted(means):
    """Return images of these mean (a, b), with pixels that vary around them."""
    noise = torch.randn(len(means), 2, 8, 6, generator=torch.Generator().manual_seed(0))
    noise -= noise.mean(dim=(2, 3), keepdim=True)
    return torch.tensor(means)[..., None, None] + noise * 10


# Distances 3, 4 and 5: a mean of 4.
TRUTH = tinted([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([[20.0, -5.0]] * 3, 0.0),  # one tint, however strong
        ([[1.0, 1.0], [2.5, 1.0], [1.0, 3.0]], 0.5),  # half as far apart, other means
        ([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], 1.0),
        ([[0.0, 0.0], [0.0, 0.0], [6.0, 0.0]], 1.0),  # 0, 6 and 6
        ([[0.0, 0.0], [9.0, 0.0], [0.0, 12.0]], 3.0),
    ],
)
def test_diversity_by_hand(means, expected):
    ratio = diversity_ratio(tinted(means), TRUTH)
    assert ratio.shape == ()
    assert ratio.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "truth", [TRUTH[:1], TRUTH[:1].repeat(3, 1, 1, 1), torch.zeros(3, 2, 4, 4)]
)
def test_a_constant_truth_has_no_diversity(truth):
    assert diversity_ratio(torch.randn(truth.shape), truth).isnan()
