from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from lightning_colorize.data.audit.descriptor import LENGTH, MIRRORED
from lightning_colorize.data.audit.groups import find_groups
from lightning_colorize.data.audit.inspect_image import LOOK
from lightning_colorize.data.audit.near import RADIUS

TRAIN, VAL, TEST = range(3)


def looks_of(*images):
    """Return looks and splits of (what is shown, bytes, side, split)."""
    looks = np.zeros(len(images), dtype=LOOK)
    for look, (shown, digest, side, _) in zip(looks, images, strict=True):
        look["digest"] = digest
        look["bytes"] = side * 10
        look["height"] = look["width"] = side
        look["descriptor"] = np.eye(LENGTH)[shown]
    return looks, np.array([image[3] for image in images], dtype=np.uint8)


def members(groups):
    return [group.members.tolist() for group in groups]


def found(*images, faulty=()):
    looks, splits = looks_of(*images)
    wrong = np.zeros(len(images), dtype=bool)
    wrong[list(faulty)] = True
    groups, crossings = find_groups(looks, splits, wrong)
    assert not crossings
    return groups


def test_copies_and_near_duplicates_are_found_and_the_largest_is_kept():
    groups = found(
        (0, b"a", 100, TRAIN), (1, b"b", 100, TRAIN), (0, b"a", 100, TRAIN), (1, b"c", 200, TRAIN)
    )
    assert members(groups) == [[0, 2], [3, 1]]
    assert [group.exact for group in groups] == [True, False]
    assert not any(group.leaks for group in groups)


def test_of_two_splits_the_later_keeps_its_image_however_small():
    groups = found((0, b"a", 400, TRAIN), (0, b"b", 200, VAL), (0, b"c", 100, TEST))
    assert members(groups) == [[2, 1, 0]]
    assert groups[0].leaks
    assert (groups[0].kept, groups[0].copies.tolist()) == (2, [1, 0])


def test_an_image_that_goes_anyway_is_not_the_one_that_is_kept():
    groups = found((0, b"a", 400, TRAIN), (0, b"b", 20, TEST), faulty=[1])
    assert members(groups) == [[0, 1]]
    assert groups[0].leaks


def test_leaks_come_first():
    same = [(0, b"a", 100, TRAIN), (0, b"a", 100, TRAIN)]
    leaking = [(1, b"b", 100, VAL), (1, b"b", 100, TRAIN)]
    assert members(found(*same, *leaking)) == [[2, 3], [0, 1]]


def test_copies_of_an_image_join_its_near_duplicates():
    groups = found(
        (0, b"a", 100, TRAIN), (0, b"b", 300, TRAIN), (0, b"a", 100, TEST), (0, b"b", 300, VAL)
    )
    assert members(groups) == [[2, 3, 1, 0]]
    assert not groups[0].exact


@pytest.mark.parametrize("flat", [False, True])
def test_images_without_contrast_are_compared_by_their_bytes_alone(flat):
    looks, splits = looks_of((0, b"a", 9, TRAIN), (0, b"b", 9, TRAIN), (0, b"b", 9, TEST))
    if flat:
        looks["descriptor"] = np.nan
    groups, _ = find_groups(looks, splits, np.zeros(3, dtype=bool))
    assert members(groups) == ([[2, 1]] if flat else [[2, 0, 1]])


def test_broken_images_are_no_copies_of_each_other():
    looks, splits = looks_of((0, b"a", 9, TRAIN), (1, b"b", 9, TRAIN), (2, b"c", 9, TRAIN))
    for broken in (2, 3):
        looks[:broken] = np.zeros((), dtype=LOOK)
        assert find_groups(looks, splits, np.zeros(3, dtype=bool)) == ([], [])


def pan(*splits, step=0.6):
    """Return looks and splits of images each of which is near the next, and near no other."""
    looks, splits = looks_of(*((0, b"%d" % i, 9, split) for i, split in enumerate(splits)))
    angles = step * RADIUS * np.arange(len(splits))
    looks["descriptor"] = 0
    looks["descriptor"][:, 0], looks["descriptor"][:, 2] = np.cos(angles), np.sin(angles)
    return looks, splits


def test_a_pan_is_no_group_its_images_are_near_one_that_is_kept():
    looks, splits = pan(*[TRAIN] * 200, step=0.1)
    groups, _ = find_groups(looks, splits, np.zeros(200, dtype=bool))
    points = looks["descriptor"].astype(float)
    for group in groups:
        assert np.linalg.norm(points[group.members] - points[group.kept], axis=1).max() <= RADIUS
    kept = set(range(200)) - {int(index) for group in groups for index in group.copies}
    assert 10 < len(kept) <= 20


def test_a_leak_of_two_that_go_with_others_or_stay_is_found():
    """The second image goes with the first; the third, in training, shows what it shows."""
    looks, splits = pan(TEST, TEST, TRAIN)
    looks["width"][0] = 10
    groups, crossings = find_groups(looks, splits, np.zeros(3, dtype=bool))
    assert members(groups) == [[0, 1]]
    assert not groups[0].leaks
    assert members(crossings) == [[1, 2]]
    assert crossings[0].splits.tolist() == [TEST, TRAIN]
    assert not crossings[0].exact


def test_a_leak_of_one_group_is_told_once():
    groups, crossings = find_groups(*pan(TEST, TRAIN), np.zeros(2, dtype=bool))
    assert members(groups) == [[0, 1]]
    assert not crossings


def shown_in_two(points, splits):
    """Return the splits of all pairs that are near each other, by comparing all with all."""
    close = np.minimum(cdist(points, points), cdist(points * MIRRORED, points)) <= RADIUS
    return {tuple(sorted((splits[i], splits[j]))) for i, j in np.argwhere(close)} - {
        (split, split) for split in range(3)
    }


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), spread=st.floats(0.3, 3))
def test_no_two_that_are_kept_show_the_same_and_no_leak_is_lost(seed, count, spread):
    random = np.random.default_rng(seed)
    looks = np.zeros(count, dtype=LOOK)
    centres = random.normal(size=(3, LENGTH))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    steps = random.normal(size=(count, LENGTH)) * random.choice([1, 0], (count, 1), p=[0.8, 0.2])
    steps *= spread * RADIUS / np.sqrt(LENGTH)
    turned = np.where(random.integers(0, 2, (count, 1)), MIRRORED, 1)
    looks["descriptor"] = (centres[random.integers(0, 3, count)] + steps) * turned
    looks["digest"] = np.arange(count).astype("S16")
    looks["bytes"] = looks["height"] = looks["width"] = random.integers(1, 4, count)
    splits = random.choice(3, count, p=[0.9, 0.05, 0.05]).astype(np.uint8)
    faulty = random.random(count) < 0.2
    groups, crossings = find_groups(looks, splits, faulty)

    points = looks["descriptor"].astype(float)
    leaking = [*(group for group in groups if group.leaks), *crossings]
    told = {pair for leak in leaking for pair in combinations(sorted(set(leak.splits)), 2)}
    wanted = shown_in_two(points, splits)
    assert bool(told) == bool(wanted)

    copies = {int(index) for group in groups for index in group.copies}
    kept = np.array([index for index in range(count) if index not in copies])
    again = find_groups(looks[kept], splits[kept], faulty[kept])
    assert again == ([], [])
    assert not shown_in_two(points[kept], splits[kept])
