from unittest import mock

import numpy as np
import pytest
import torch

from lightning_colorize.metrics import colorization_metrics, per_image
from lightning_colorize.metrics import image_pair as images_module
from lightning_colorize.metrics.formulas import PSNR_CAP
from lightning_colorize.metrics.spec import NAMES


def computed(batches, prefix=""):
    metrics = colorization_metrics(prefix)
    for batch in batches:
        metrics.update(*batch)
    return {name: value.item() for name, value in metrics.compute().items()}


def in_batches(images, size):
    return zip(*(tensor.split(size) for tensor in images), strict=True)


def flats(*pairs):
    """Images of one color each, from ((a_hat, b_hat), (a, b)) pairs, at L = 50."""
    colors = torch.tensor(pairs, dtype=torch.float32)[..., None, None].expand(-1, -1, -1, 16, 16)
    return torch.full((len(pairs), 1, 16, 16), 50.0), colors[:, 0], colors[:, 1]


def test_metric_names(images):
    assert set(computed([images])) == set(NAMES)
    assert set(computed([images], "val/")) == {f"val/{name}" for name in NAMES}
    assert all(isinstance(name, str) for name in colorization_metrics("test/"))


def test_averages_over_images(images):
    L, _, ab = images
    result = computed([images])
    for name, values in per_image(*images).items():
        assert result[name] == pytest.approx(values.numpy().mean(), rel=1e-5), name
    truth = per_image(L, ab, ab)["colorfulness"].numpy().mean()
    assert result["colorfulness_ratio"] == pytest.approx(result["colorfulness"] / truth, rel=1e-5)


# Mean a: predicted 0, 2, 4 of 0, 10, 20: r = 1. Mean b, of 0, 6, 12: 0, 6, 0 or reversed.
@pytest.mark.parametrize(("b", "expected"), [((0, 6, 0), 0), ((12, 6, 0), -1)])
def test_ab_corr_by_hand(b, expected):
    images = flats(((0, b[0]), (0, 0)), ((2, b[1]), (10, 6)), ((4, b[2]), (20, 12)))
    assert computed([images])["ab_corr"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 7.3])
def test_constant_predictions_have_no_ab_corr(images, constant):
    L, _, ab = images
    assert computed([(L, torch.full_like(ab, constant), ab)])["ab_corr"] == 0
    assert computed([(L, ab, torch.full_like(ab, constant))])["ab_corr"] == 0


@pytest.mark.parametrize(("spread", "expected"), [(5e-3, 0), (2e-2, 1)])
def test_a_spread_below_a_hundredth_is_constant(spread, expected):
    images = flats(*[((n * spread, n * spread), (n, n)) for n in (-1, 0, 1)])
    assert computed([images])["ab_corr"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_images_have_no_ab_corr(images, count):
    result = computed([[tensor[:count] for tensor in images]])
    assert np.isnan(result.pop("ab_corr"))
    assert np.isfinite(list(result.values())).all()


def test_truth_predicted_exactly(images):
    L, _, ab = images
    result = computed([(L, ab, ab)])
    assert result["mse_ab"] == result["ciede2000"] == 0
    assert result["psnr"] == PSNR_CAP
    assert result["colorfulness_ratio"] == 1
    assert (result["ssim"], result["ab_corr"]) == pytest.approx((1, 1))
    colorfulness = per_image(L, ab, ab)["colorfulness"].mean().item()
    assert result["colorfulness"] == pytest.approx(colorfulness)


def test_one_identical_image_does_not_spoil_the_average(images):
    L, ab_hat, ab = images
    ab_hat = torch.cat([ab[:1], ab_hat[1:]])
    others = per_image(L[1:], ab_hat[1:], ab[1:])["psnr"]
    expected = (PSNR_CAP + others.sum().item()) / 8
    assert computed([(L, ab_hat, ab)])["psnr"] == pytest.approx(expected, rel=1e-5)


def test_grey_truth_gives_a_finite_ratio():
    grey = flats(((0, 0), (0, 0)), ((0, 0), (0, 0)))
    assert 0 <= computed([grey])["colorfulness_ratio"] < 0.1
    colored = flats(((30, 30), (0, 0)), ((30, 30), (0, 0)))
    assert 10 < computed([colored])["colorfulness_ratio"] < float("inf")


def test_each_batch_is_measured_once(images, monkeypatch):
    counting = mock.Mock(wraps=images_module.to_rgb)
    monkeypatch.setattr(images_module, "to_rgb", counting)
    metrics = colorization_metrics()
    for batch in in_batches(images, 4):
        metrics.update(*batch)
    metrics.compute()
    # Two batches, and in each the prediction and the truth.
    assert counting.call_count == 4


def test_reset_and_a_second_epoch(images):
    metrics = colorization_metrics("val/")
    metrics.update(*(tensor[:5] for tensor in images))
    metrics.compute()
    metrics.reset()
    for batch in in_batches(images, 3):
        metrics.update(*batch)
    # Computing a single metric must not detach it from later updates.
    assert metrics["val/ab_corr"].compute().isfinite()
    metrics.update(*(tensor[:1] for tensor in images))
    result = {name: value.item() for name, value in metrics.compute().items()}
    again = [torch.cat([tensor, tensor[:1]]) for tensor in images]
    assert result == pytest.approx(computed([again], "val/"), rel=1e-5)


def test_autocast_and_precision_change_nothing(images):
    expected = computed([images])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert computed([images]) == expected
