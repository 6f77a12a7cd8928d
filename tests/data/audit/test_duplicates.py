from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from lightning_colorize.data.audit import duplicates
from lightning_colorize.data.audit.duplicates import (
    RADIUS,
    assign_representatives,
    find_duplicates,
    match,
)
from lightning_colorize.data.audit.features import FEATURES, LENGTH, MIRRORED

TRAIN, VAL, TEST = range(3)


def features_of(*images):
    """Return features and splits of (content, bytes, side, split)."""
    features = np.zeros(len(images), dtype=FEATURES)
    for row, (content, digest, side, _) in zip(features, images, strict=True):
        row["digest"] = digest
        row["bytes"] = side * 10
        row["height"] = row["width"] = side
        row["descriptor"] = np.eye(LENGTH)[content]
    return features, np.array([image[3] for image in images], dtype=np.uint8)


def members(groups):
    return [group.members.tolist() for group in groups]


A, B = (0, b"a", 100), (1, b"b", 100)


@pytest.mark.parametrize(
    ("images", "faulty", "expected", "exact", "leaks"),
    [
        # Copies are exact, near duplicates are not; the representative is the largest.
        (
            [(*A, TRAIN), (*B, TRAIN), (*A, TRAIN), (1, b"c", 200, TRAIN)],
            [],
            [[0, 2], [3, 1]],
            [True, False],
            [False, False],
        ),
        # It is of the later split, even if it is smaller, ...
        (
            [(0, b"a", 400, TRAIN), (0, b"b", 200, VAL), (0, b"c", 100, TEST)],
            [],
            [[2, 1, 0]],
            [False],
            [True],
        ),
        # ... unless that image has another fault.
        ([(0, b"a", 400, TRAIN), (0, b"b", 20, TEST)], [1], [[0, 1]], [False], [True]),
        # Leaking groups come first.
        (
            [(*A, TRAIN), (*A, TRAIN), (*B, VAL), (*B, TRAIN)],
            [],
            [[2, 3], [0, 1]],
            [True, True],
            [True, False],
        ),
        # A copy joins the near duplicates of its image.
        (
            [(*A, TRAIN), (0, b"b", 300, TRAIN), (*A, TEST), (0, b"b", 300, VAL)],
            [],
            [[2, 3, 1, 0]],
            [False],
            [True],
        ),
    ],
)
def test_groups(images, faulty, expected, exact, leaks):
    features, splits = features_of(*images)
    wrong = np.isin(np.arange(len(images)), faulty)
    groups, pairs = find_duplicates(features, splits, wrong)
    assert members(groups) == expected
    assert [group.exact for group in groups] == exact
    assert [group.leaks for group in groups] == leaks
    assert [group.representative for group in groups] == [own[0] for own in expected]
    assert [group.copies.tolist() for group in groups] == [own[1:] for own in expected]
    assert not pairs


@pytest.mark.parametrize("flat", [False, True])
def test_flat_images_are_compared_by_their_bytes_alone(flat):
    features, splits = features_of((0, b"a", 9, TRAIN), (0, b"b", 9, TRAIN), (0, b"b", 9, TEST))
    if flat:
        features["descriptor"] = np.nan
    groups, _ = find_duplicates(features, splits, np.zeros(3, dtype=bool))
    assert members(groups) == ([[2, 1]] if flat else [[2, 0, 1]])


def test_broken_images_are_not_duplicates():
    features, splits = features_of((0, b"a", 9, TRAIN), (1, b"b", 9, TRAIN), (2, b"c", 9, TRAIN))
    for broken in (2, 3):
        features[:broken] = np.zeros((), dtype=FEATURES)
        assert find_duplicates(features, splits, np.zeros(3, dtype=bool)) == ([], [])


def splits_of_near_pairs(points, splits):
    """Return the splits of all near pairs, by brute force."""
    close = distances(points) <= RADIUS
    return {tuple(sorted((splits[i], splits[j]))) for i, j in np.argwhere(close)} - {
        (split, split) for split in range(3)
    }


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), spread=st.floats(0.3, 3))
def test_representatives_are_distinct_and_no_leak_is_lost(seed, count, spread):
    random = np.random.default_rng(seed)
    features = np.zeros(count, dtype=FEATURES)
    centers = random.normal(size=(3, LENGTH))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    steps = random.normal(size=(count, LENGTH)) * random.choice([1, 0], (count, 1), p=[0.8, 0.2])
    steps *= spread * RADIUS / np.sqrt(LENGTH)
    orientations = np.where(random.integers(0, 2, (count, 1)), MIRRORED, 1)
    features["descriptor"] = (centers[random.integers(0, 3, count)] + steps) * orientations
    features["digest"] = np.arange(count).astype("S16")
    features["bytes"] = features["height"] = features["width"] = random.integers(1, 4, count)
    splits = random.choice(3, count, p=[0.9, 0.05, 0.05]).astype(np.uint8)
    faulty = random.random(count) < 0.2
    groups, pairs = find_duplicates(features, splits, faulty)

    points = features["descriptor"].astype(float)
    leaking = [*(group for group in groups if group.leaks), *pairs]
    reported = {pair for leak in leaking for pair in combinations(sorted(set(leak.splits)), 2)}
    expected = splits_of_near_pairs(points, splits)
    assert bool(reported) == bool(expected)

    copies = {int(index) for group in groups for index in group.copies}
    left = np.array([index for index in range(count) if index not in copies])
    assert find_duplicates(features[left], splits[left], faulty[left]) == ([], [])
    assert not splits_of_near_pairs(points[left], splits[left])


def directions(count, seed=0):
    """Descriptors that are far apart: (count, 35), of length 1."""
    drawn = np.random.default_rng(seed).normal(size=(count, LENGTH))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def distances(points):
    """Distances of all points to all others or their mirror images: (N, N)."""
    return np.minimum(cdist(points, points), cdist(points, points * MIRRORED))


def clouds(seed):
    """Points, some near each other, some far, some connected by others."""
    random = np.random.default_rng(seed)
    steps = directions(300, seed=seed + 1) * random.uniform(0, 1.2 * RADIUS, (300, 1))
    orientations = np.where(random.integers(0, 2, (300, 1)), MIRRORED, 1)
    return (directions(60, seed)[random.integers(0, 60, 300)] + steps) * orientations


def test_representatives_match_brute_force():
    points = clouds(1)
    near = distances(points) <= RADIUS
    expected = []
    for number in range(len(points)):
        earlier = [other for other in sorted(set(expected)) if near[number, other]]
        expected.append(earlier[0] if earlier else number)
    representatives = assign_representatives(points)
    assert representatives.tolist() == expected
    assert 60 < len(set(expected)) < 250


@pytest.mark.parametrize("chunk", [7, 10_000])
def test_match_equals_brute_force(monkeypatch, chunk):
    monkeypatch.setattr(duplicates, "_CHUNK", chunk)
    points = clouds(3)
    first, second = points[:200], points[200:]
    close = distances(points)[:200, 200:] <= RADIUS
    numbers, matches = match(first, second)
    assert numbers.tolist() == np.flatnonzero(close.any(axis=1)).tolist()
    assert 20 < len(numbers) < 200
    assert close[numbers, matches].all()


def test_only_representatives_query_the_tree(monkeypatch):
    """If each of ten thousand frames did, there would be a hundred million pairs."""
    queries = []

    class CountingTree(duplicates.KDTree):
        def query_ball_point(self, x, r):
            queries.append(len(x))
            return super().query_ball_point(x, r)

    monkeypatch.setattr(duplicates, "KDTree", CountingTree)
    frames = directions(1)[0] + 0.1 * RADIUS * directions(10_000, seed=3)
    representatives = assign_representatives(np.concatenate([frames, directions(30, seed=4)]))
    assert set(representatives[:10_000]) == {0}
    assert len(set(representatives)) == len(queries) == 31
