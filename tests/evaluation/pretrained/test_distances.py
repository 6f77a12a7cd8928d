import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from lightning_colorize.evaluation.pretrained import distances


def _features(count, size, rows=3):
    """Return paired features, the first row being the truth."""
    random = torch.Generator().manual_seed(1)
    mix = torch.randn(size, size, generator=random) / size**0.5
    true = torch.randn(count, size, generator=random) @ mix
    noise = torch.randn(rows, count, size, generator=random)
    step = torch.arange(rows).view(-1, 1, 1)
    return true + step * (0.3 + 0.5 * noise)


def _naive(x, y):
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    distance = np.square(x.mean(0) - y.mean(0)).sum()
    return distance + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)


@pytest.mark.parametrize(("count", "size"), [(300, 16), (20, 48)])
def test_frechet_distance_is_that_of_the_formula_and_of_torch_fidelity(count, size):
    features = _features(count, size)
    measured = distances.frechet_distances(features, 0)
    assert measured[0] == pytest.approx(0, abs=1e-9)
    fidelity = pytest.importorskip("torch_fidelity.metric_fid")
    statistics = [fidelity.fid_features_to_statistics(each.double()) for each in features]
    for row in (1, 2):
        naive = _naive(*(features[i].double().numpy() for i in (row, 0)))
        assert measured[row] == pytest.approx(naive, rel=1e-5)
        theirs = fidelity.fid_statistics_to_metric(statistics[row], statistics[0], False)
        (theirs,) = theirs.values()
        assert measured[row] == pytest.approx(theirs, rel=1e-4)


def test_extrapolation_is_nearer_to_the_distance_of_the_gaussians():
    size, known = 32, 32 * (0.1**2 + (1.2 - 1) ** 2)
    errors = []
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        true, other = torch.randn(2, 400, size, generator=random, dtype=torch.float64)
        features = torch.stack([true, 0.1 + 1.2 * other])
        plain = distances.frechet_distances(features, 0)[1]
        infinite = distances.infinite_frechet_distances(features, 0)
        assert infinite[0] == pytest.approx(0, abs=1e-9)
        errors.append((abs(infinite[1] - known), plain - known))
    extrapolated, plain = np.mean(errors, axis=0)
    assert plain > 0.5  # it is too large
    assert extrapolated < plain / 2


def test_two_images_are_too_few_to_extrapolate_and_one_has_no_distance():
    assert np.isnan(distances.frechet_distances(_features(1, 4), 0)).all()
    assert np.isnan(distances.infinite_frechet_distances(_features(2, 4), 0)).all()


def test_kernel_distance_is_that_of_torch_fidelity():
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    features = _features(60, 24)
    measured = distances.kernel_distances(features, 0)
    for row in range(3):
        theirs = fidelity.kid_features_to_metric(
            features[0].double(), features[row].double(), kid_subset_size=60, kid_subsets=1
        )
        assert measured[row] == pytest.approx(theirs[fidelity.KEY_METRIC_KID_MEAN], abs=1e-6)
    assert measured[0] < 0  # an image is compared with itself


def test_subsets_of_many_images_are_repeatable(monkeypatch):
    monkeypatch.setattr(distances, "SUBSET_SIZE", 20)
    features = _features(60, 24)
    state = torch.get_rng_state()
    first, again = (distances.kernel_distances(features, 0) for _ in range(2))
    assert (first == again).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_many_subsets_vary_less_than_one(monkeypatch):
    monkeypatch.setattr(distances, "SUBSET_SIZE", 20)
    features = _features(60, 24, rows=2)

    def spread():
        return np.std([distances.kernel_distances(features, 0, seed)[1] for seed in range(8)])

    of_many = spread()
    monkeypatch.setattr(distances, "SUBSETS", 1)
    assert 0 < of_many < spread() / 4


def test_paired_kernel_distance_leaves_out_pairs_of_one_image(monkeypatch):
    monkeypatch.setattr(distances, "SUBSET_SIZE", 4)  # parts of the matrix
    features = _features(10, 6).double().numpy()
    measured = distances.paired_kernel_distances(torch.from_numpy(features), 0)
    assert measured[0] == pytest.approx(0, abs=1e-9)

    def kernel(x, y):
        return (x @ y / 6 + 1) ** 3

    for row in (1, 2):
        x, y = features[row], features[0]
        terms = [
            kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i])
            for i in range(10)
            for j in range(10)
            if i != j
        ]
        assert measured[row] == pytest.approx(np.mean(terms), rel=1e-6)
