import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from lightning_colorize.data.audit import near
from lightning_colorize.data.audit.descriptor import LENGTH, MIRRORED
from lightning_colorize.data.audit.near import RADIUS, near_groups


def directions(count, seed=0):
    """Descriptors that are far apart: (count, 35), of length 1."""
    drawn = np.random.default_rng(seed).normal(size=(count, LENGTH))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def same_grouping(first, second):
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


@pytest.mark.parametrize("at_once", [7, 10_000])
def test_groups_are_those_of_single_linkage(monkeypatch, at_once):
    monkeypatch.setattr(near, "_AT_ONCE", at_once)
    random = np.random.default_rng(1)
    centres = directions(60)
    own = random.integers(0, 60, 300)
    # Steps of up to twice the radius: some copies are found, some are not, some by way of others.
    steps = directions(300, seed=2) * random.uniform(0, 1.2 * RADIUS, (300, 1))
    points = centres[own] + steps
    expected = fcluster(linkage(points, "single"), RADIUS, "distance")
    assert 60 < len(set(expected)) < 200
    assert same_grouping(near_groups(points), expected)


def test_mirror_images_belong_together():
    points = directions(20)
    groups = near_groups(np.concatenate([points, points[:5] * MIRRORED]))
    assert (groups[20:] == groups[:5]).all()
    assert len(set(groups)) == 20


def test_a_thousand_frames_of_one_camera_are_one_group():
    frames = directions(1)[0] + 0.1 * RADIUS * directions(1000, seed=3)
    others = directions(30, seed=4)
    groups = near_groups(np.concatenate([frames, others]))
    assert len(set(groups[:1000])) == 1
    assert len(set(groups)) == 31


def test_two_crowds_that_touch_are_one_group():
    """Each picture's nearest neighbours are all of its own crowd."""
    centres = directions(2, seed=5)
    second = centres[0] + 0.5 * RADIUS * centres[1]
    crowds = [c + 0.01 * RADIUS * directions(40, seed=6) for c in (centres[0], second)]
    assert set(near_groups(np.concatenate(crowds))) == {0}


def test_no_pictures_have_no_groups():
    assert near_groups(np.empty((0, LENGTH))).shape == (0,)
