import json
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from lightning_colorize.metrics import colorization_metrics, per_picture
from lightning_colorize.metrics import pictures as pictures_module
from lightning_colorize.metrics.pictures import PSNR_CAP

NAMES = {"mse_ab", "psnr", "ssim", "ciede2000", "colorfulness", "colorfulness_ratio", "hue_r"}


def computed(batches, prefix=""):
    metrics = colorization_metrics(prefix)
    for batch in batches:
        metrics.update(*batch)
    return {name: value.item() for name, value in metrics.compute().items()}


def in_batches(pictures, size):
    return zip(*(tensor.split(size) for tensor in pictures), strict=True)


def flat(L=50.0, a=0.0, b=0.0, size=16):
    """One picture of one colour: L and ab."""
    ab = torch.tensor([float(a), float(b)]).view(1, 2, 1, 1).expand(1, 2, size, size)
    return torch.full((1, 1, size, size), L), ab


def flats(*pairs, L=50.0):
    """Pictures of one colour each, from ((a_hat, b_hat), (a, b)) pairs."""
    predictions = torch.cat([flat(L, *predicted)[1] for predicted, _ in pairs])
    truths = torch.cat([flat(L, *true)[1] for _, true in pairs])
    return flat(L)[0].expand(len(pairs), -1, -1, -1), predictions, truths


def test_the_names_of_the_contract(pictures):
    assert set(computed([pictures])) == NAMES
    assert set(computed([pictures], "val/")) == {f"val/{name}" for name in NAMES}
    assert all(isinstance(name, str) for name in colorization_metrics("test/"))


def test_averages_over_pictures(pictures):
    L, _, ab = pictures
    result = computed([pictures])
    for name, values in per_picture(*pictures).items():
        assert result[name] == pytest.approx(values.numpy().mean(), rel=1e-5), name
    truth = per_picture(L, ab, ab)["colorfulness"].numpy().mean()
    assert result["colorfulness_ratio"] == pytest.approx(result["colorfulness"] / truth, rel=1e-5)


def test_hue_r_is_the_smaller_of_the_two_correlations(pictures):
    L, ab_hat, ab = pictures
    ab_hat = ab_hat.clone()
    # Mean b of the predictions is shuffled over the pictures, mean a is not.
    ab_hat[:, 1] = ab_hat[:, 1].roll(1, dims=0)
    means_hat, means = ab_hat.mean((2, 3)).numpy(), ab.mean((2, 3)).numpy()
    r_a, r_b = (np.corrcoef(means_hat[:, i], means[:, i])[0, 1] for i in (0, 1))
    assert r_b < 0.9 < r_a
    assert computed([(L, ab_hat, ab)])["hue_r"] == pytest.approx(r_b, abs=1e-4)
    swapped = computed([(L, ab_hat.flip(1), ab.flip(1))])
    assert swapped["hue_r"] == pytest.approx(r_b, abs=1e-4)


def test_hue_r_by_hand():
    # Mean a: predicted 0, 2, 4 of 0, 10, 20: r = 1. Mean b: 0, 6, 0 of 0, 6, 12: r = 0.
    pictures = flats(((0, 0), (0, 0)), ((2, 6), (10, 6)), ((4, 0), (20, 12)))
    assert computed([pictures])["hue_r"] == pytest.approx(0, abs=1e-6)
    # Mean b turned round: r = -1.
    pictures = flats(((0, 12), (0, 0)), ((2, 6), (10, 6)), ((4, 0), (20, 12)))
    assert computed([pictures])["hue_r"] == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 7.3])
def test_constant_predictions_have_no_hue_r(pictures, constant):
    L, _, ab = pictures
    assert computed([(L, torch.full_like(ab, constant), ab)])["hue_r"] == 0
    assert computed([(L, ab, torch.full_like(ab, constant))])["hue_r"] == 0


def test_one_picture_has_no_hue_r(pictures):
    one = [tensor[:1] for tensor in pictures]
    result = computed([one])
    assert result["hue_r"] == 0
    assert np.isfinite(list(result.values())).all()


def test_truth_predicted_exactly(pictures):
    L, _, ab = pictures
    assert computed([(L, ab, ab)]) == {
        "mse_ab": 0,
        "psnr": PSNR_CAP,
        "ssim": pytest.approx(1),
        "ciede2000": 0,
        "colorfulness": pytest.approx(per_picture(L, ab, ab)["colorfulness"].mean().item()),
        "colorfulness_ratio": 1,
        "hue_r": pytest.approx(1),
    }


def test_one_identical_picture_does_not_spoil_the_average(pictures):
    L, ab_hat, ab = pictures
    ab_hat = torch.cat([ab[:1], ab_hat[1:]])
    others = per_picture(L[1:], ab_hat[1:], ab[1:])["psnr"]
    expected = (PSNR_CAP + others.sum().item()) / 8
    assert computed([(L, ab_hat, ab)])["psnr"] == pytest.approx(expected, rel=1e-5)


def test_a_truth_without_colour_gives_a_finite_ratio():
    grey = flats(((0, 0), (0, 0)), ((0, 0), (0, 0)))
    assert 0 <= computed([grey])["colorfulness_ratio"] < 0.1
    coloured = flats(((30, 30), (0, 0)), ((30, 30), (0, 0)))
    assert 10 < computed([coloured])["colorfulness_ratio"] < float("inf")


def test_psnr_is_averaged_over_pictures_and_not_pooled():
    L, ab_hat, ab = flats(((0, 0), (2, 0)), ((0, 0), (40, 0)))
    each = per_picture(L, ab_hat, ab)["psnr"].double()
    pooled = -10 * torch.log10((10 ** (-each / 10)).mean())
    result = computed([(L, ab_hat, ab)])["psnr"]
    assert result == pytest.approx(each.mean().item(), rel=1e-5)
    assert result > pooled.item() + 4


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_split_into_batches_does_not_matter(pictures, size):
    assert computed(in_batches(pictures, size)) == pytest.approx(computed([pictures]), rel=1e-5)


def test_pictures_of_different_sizes_count_alike(pictures):
    large = [tensor.repeat(1, 1, 2, 2) for tensor in pictures]
    result = computed([pictures, large])
    expected = np.mean([per_picture(*p)["ciede2000"].mean().item() for p in (pictures, large)])
    assert result["ciede2000"] == pytest.approx(expected, rel=1e-5)


def test_each_batch_is_measured_once(pictures, monkeypatch):
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return to_rgb(*args, **kwargs)

    to_rgb = pictures_module.to_rgb
    monkeypatch.setattr(pictures_module, "to_rgb", counting)
    metrics = colorization_metrics()
    for batch in in_batches(pictures, 4):
        metrics.update(*batch)
    metrics.compute()
    # Two batches, and in each the prediction and the truth.
    assert len(calls) == 4


def test_reset_and_a_second_epoch(pictures):
    metrics = colorization_metrics("val/")
    metrics.update(*(tensor[:5] for tensor in pictures))
    metrics.compute()
    metrics.reset()
    for batch in in_batches(pictures, 3):
        metrics.update(*batch)
    # Looking at a single metric must not cut it off from the rows that are still to come.
    assert metrics["val/hue_r"].compute().isfinite()
    metrics.update(*(tensor[:1] for tensor in pictures))
    result = {name: value.item() for name, value in metrics.compute().items()}
    again = [torch.cat([tensor, tensor[:1]]) for tensor in pictures]
    assert result == pytest.approx(computed([again], "val/"), rel=1e-5)


def test_clones_are_apart(pictures):
    metrics = colorization_metrics("val/")
    clone = metrics.clone(prefix="test/")
    metrics.update(*pictures)
    clone.update(*(tensor[:2] for tensor in pictures))
    assert set(clone.compute()) == {f"test/{name}" for name in NAMES}
    assert metrics.compute()["val/psnr"] != clone.compute()["test/psnr"]


def test_autocast_and_precision_change_nothing(pictures):
    expected = computed([pictures])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert computed([pictures]) == expected


def test_metrics_leave_the_state_dict_empty(pictures):
    metrics = colorization_metrics()
    metrics.update(*pictures)
    assert metrics.state_dict() == {}


def measure_a_share(rank, address, shares):
    """Join two processes, measure this one's batches and return what it computes, twice."""
    distributed.init_process_group(
        "gloo", init_method=address, rank=rank, world_size=2, timeout=timedelta(seconds=90)
    )
    metrics = colorization_metrics("val/")
    for batch in shares[rank]:
        metrics.update(*batch)
    twice = [{name: value.item() for name, value in metrics.compute().items()} for _ in range(2)]
    distributed.destroy_process_group()
    return twice


def measure_and_save(_, address, shares, path):
    torch.set_num_threads(1)
    path.write_text(json.dumps(measure_a_share(1, address, shares)))


@pytest.mark.ddp
def test_two_processes_equal_one(pictures, tmp_path):
    # Shares of five and three pictures, in two batches and in one.
    shares = [
        [[tensor[:2] for tensor in pictures], [tensor[2:5] for tensor in pictures]],
        [[tensor[5:] for tensor in pictures]],
    ]
    address, other_result = f"file://{tmp_path / 'rendezvous'}", tmp_path / "result.json"
    # This process is one of the two: starting one is slow enough.
    other = multiprocessing.spawn(
        measure_and_save, args=(address, shares, other_result), nprocs=1, join=False
    )
    result = measure_a_share(0, address, shares)
    other.join(timeout=60)
    expected = pytest.approx(computed([pictures], "val/"), rel=1e-5)
    assert result == [expected, expected]
    assert json.loads(other_result.read_text()) == [expected, expected]
