import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_colorize.data.audit import duplicates
from lightning_colorize.data.audit.duplicates import find_duplicates
from lightning_colorize.data.audit.features import FEATURES

TRAIN, VAL, TEST = range(3)


def features_of(*images):
    """Return features and splits of (content, bytes, side, split)."""
    features = np.zeros(len(images), dtype=FEATURES)
    for row, (content, digest, side, _) in zip(features, images, strict=True):
        row["digest"] = digest
        row["bytes"] = side * 10
        row["height"] = row["width"] = side
        row["hashes"] = np.random.default_rng(content).integers(1, 256, row["hashes"].shape)
    return features, np.array([image[3] for image in images], dtype=np.uint8)


def members(groups):
    return [group.members.tolist() for group in groups]


A, B = (0, b"a", 100), (1, b"b", 100)


@pytest.mark.parametrize(
    ("images", "faulty", "expected"),
    [
        # Copies are exact, near duplicates are not; the representative is the largest.
        ([(*A, TRAIN), (*B, TRAIN), (*A, TRAIN), (1, b"c", 200, TRAIN)], [], [[0, 2], [3, 1]]),
        # It is of the later split, even if it is smaller, ...
        ([(0, b"a", 400, TRAIN), (0, b"b", 200, VAL), (0, b"c", 100, TEST)], [], [[2, 1, 0]]),
        # ... unless that image has another fault.
        ([(0, b"a", 400, TRAIN), (0, b"b", 20, TEST)], [1], [[0, 1]]),
        # Leaking groups come first.
        ([(*A, TRAIN), (*A, TRAIN), (*B, VAL), (*B, TRAIN)], [], [[2, 3], [0, 1]]),
        # A copy joins the near duplicates of its image.
        (
            [(*A, TRAIN), (0, b"b", 300, TRAIN), (*A, TEST), (0, b"b", 300, VAL)],
            [],
            [[2, 3, 1, 0]],
        ),
    ],
)
def test_groups(images, faulty, expected):
    features, splits = features_of(*images)
    wrong = np.isin(np.arange(len(images)), faulty)
    groups, pairs = find_duplicates(features, splits, wrong)
    assert members(groups) == expected
    for group, own in zip(groups, expected, strict=True):
        assert group.exact == (len({images[index][1] for index in own}) == 1)
        assert group.leaks == (len({images[index][3] for index in own}) > 1)
        assert [group.representative, *group.copies] == own
    assert not pairs


@pytest.mark.parametrize("flat", [False, True])
def test_flat_images_are_compared_by_their_bytes_alone(flat):
    features, splits = features_of((0, b"a", 9, TRAIN), (0, b"b", 9, TRAIN), (0, b"b", 9, TEST))
    if flat:
        features["hashes"] = 0
    groups, _ = find_duplicates(features, splits, np.zeros(3, dtype=bool))
    assert members(groups) == ([[2, 1]] if flat else [[2, 0, 1]])


def test_broken_images_are_not_duplicates():
    features, splits = features_of((0, b"a", 9, TRAIN), (1, b"b", 9, TRAIN), (2, b"c", 9, TRAIN))
    for broken in (2, 3):
        features[:broken] = np.zeros((), dtype=FEATURES)
        assert find_duplicates(features, splits, np.zeros(3, dtype=bool)) == ([], [])


def on_a_line(places):
    """As `near_pairs`, for images at places of a line."""
    near = abs(places[:, None, 0, 0].astype(int) - places[:, 0, 0]) <= 1
    return np.argwhere(near & ~np.eye(len(near), dtype=bool))


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), length=st.integers(1, 40))
def test_representatives_are_distinct_and_no_leak_is_lost(seed, count, length):
    random = np.random.default_rng(seed)
    features = np.zeros(count, dtype=FEATURES)
    places = random.integers(1, 1 + length, count)
    features["hashes"] = places[:, None, None]
    features["digest"] = np.arange(count).astype("S16")
    features["bytes"] = features["height"] = features["width"] = random.integers(1, 4, count)
    splits = random.choice(3, count, p=[0.9, 0.05, 0.05]).astype(np.uint8)
    faulty = random.random(count) < 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "near_pairs", on_a_line)
        groups, pairs = find_duplicates(features, splits, faulty)
    near = abs(places[:, None] - places) <= 1
    for group in groups:
        assert near[group.representative, group.copies].all()
    reported = any(group.leaks for group in groups) or bool(pairs)
    assert reported == (near & (splits[:, None] != splits)).any()
    copies = {int(index) for group in groups for index in group.copies}
    left = [index for index in range(count) if index not in copies]
    assert near[np.ix_(left, left)].sum() == len(left)
