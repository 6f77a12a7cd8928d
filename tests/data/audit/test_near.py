import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lightning_colorize.data.audit import near
from lightning_colorize.data.audit.descriptor import LENGTH, MIRRORED
from lightning_colorize.data.audit.near import RADIUS, cover, matches


def directions(count, seed=0):
    """Descriptors that are far apart: (count, 35), of length 1."""
    drawn = np.random.default_rng(seed).normal(size=(count, LENGTH))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def distances(points):
    """Of all to all, or to the mirror image, whichever is nearer: (N, N)."""
    return np.minimum(cdist(points, points), cdist(points, points * MIRRORED))


def clouds(seed):
    """Points of which some are near each other, some are not, some by way of others."""
    random = np.random.default_rng(seed)
    steps = directions(300, seed=seed + 1) * random.uniform(0, 1.2 * RADIUS, (300, 1))
    turned = np.where(random.integers(0, 2, (300, 1)), MIRRORED, 1)
    return (directions(60, seed)[random.integers(0, 60, 300)] + steps) * turned


def test_kept_are_the_first_that_are_near_none_kept_before():
    points = clouds(1)
    near = distances(points) <= RADIUS
    expected = []
    for number in range(len(points)):
        earlier = [other for other in sorted(set(expected)) if near[number, other]]
        expected.append(earlier[0] if earlier else number)
    kept = cover(points)
    assert kept.tolist() == expected
    assert 60 < len(set(expected)) < 250


@pytest.mark.parametrize("at_once", [7, 10_000])
def test_matches_are_near_and_none_is_missed(monkeypatch, at_once):
    monkeypatch.setattr(near, "_AT_ONCE", at_once)
    points = clouds(3)
    first, second = points[:200], points[200:]
    close = distances(points)[:200, 200:] <= RADIUS
    numbers, found = matches(first, second)
    assert numbers.tolist() == np.flatnonzero(close.any(axis=1)).tolist()
    assert 20 < len(numbers) < 200
    assert close[numbers, found].all()


def test_mirror_images_belong_together():
    points = directions(20)
    kept = cover(np.concatenate([points, points[:5] * MIRRORED]))
    assert kept.tolist() == [*range(20), *range(5)]


def test_the_frames_of_one_camera_are_asked_once(monkeypatch):
    """Each asked for its neighbours, ten thousand would make a hundred million pairs."""
    asked = []

    class CountingTree(near.KDTree):
        def query_ball_point(self, x, r):
            asked.append(len(x))
            return super().query_ball_point(x, r)

    monkeypatch.setattr(near, "KDTree", CountingTree)
    frames = directions(1)[0] + 0.1 * RADIUS * directions(10_000, seed=3)
    kept = cover(np.concatenate([frames, directions(30, seed=4)]))
    assert set(kept[:10_000]) == {0}
    assert len(set(kept)) == len(asked) == 31


def test_no_images_have_no_neighbours():
    none = np.empty((0, LENGTH))
    assert cover(none).shape == (0,)
    assert [part.shape for part in matches(none, directions(2))] == [(0,), (0,)]
    assert [part.shape for part in matches(directions(2), none)] == [(0,), (0,)]
