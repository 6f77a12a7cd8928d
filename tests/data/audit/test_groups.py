import numpy as np
import pytest

from lightning_colorize.data.audit.descriptor import LENGTH
from lightning_colorize.data.audit.groups import find_groups
from lightning_colorize.data.audit.look import LOOK

TRAIN, VAL, TEST = range(3)


def looks_of(*pictures):
    """Return looks and splits of (what is shown, bytes, side, split)."""
    looks = np.zeros(len(pictures), dtype=LOOK)
    for look, (shown, digest, side, _) in zip(looks, pictures, strict=True):
        look["digest"] = digest
        look["bytes"] = side * 10
        look["height"] = look["width"] = side
        look["descriptor"] = np.eye(LENGTH)[shown]
    return looks, np.array([picture[3] for picture in pictures], dtype=np.uint8)


def members(groups):
    return [group.members.tolist() for group in groups]


def found(*pictures, faulty=()):
    looks, splits = looks_of(*pictures)
    wrong = np.zeros(len(pictures), dtype=bool)
    wrong[list(faulty)] = True
    return find_groups(looks, splits, wrong)


def test_copies_and_near_duplicates_are_found_and_the_largest_is_kept():
    groups = found(
        (0, b"a", 100, TRAIN), (1, b"b", 100, TRAIN), (0, b"a", 100, TRAIN), (1, b"c", 200, TRAIN)
    )
    assert members(groups) == [[0, 2], [3, 1]]
    assert [group.exact for group in groups] == [True, False]
    assert not any(group.leaks for group in groups)


def test_of_two_splits_the_later_keeps_its_picture_however_small():
    groups = found((0, b"a", 400, TRAIN), (0, b"b", 200, VAL), (0, b"c", 100, TEST))
    assert members(groups) == [[2, 1, 0]]
    assert groups[0].leaks
    assert (groups[0].kept, groups[0].copies.tolist()) == (2, [1, 0])


def test_a_picture_that_goes_anyway_is_not_the_one_that_is_kept():
    groups = found((0, b"a", 400, TRAIN), (0, b"b", 20, TEST), faulty=[1])
    assert members(groups) == [[0, 1]]
    assert groups[0].leaks


def test_leaks_come_first():
    same = [(0, b"a", 100, TRAIN), (0, b"a", 100, TRAIN)]
    leaking = [(1, b"b", 100, VAL), (1, b"b", 100, TRAIN)]
    assert members(found(*same, *leaking)) == [[2, 3], [0, 1]]


def test_copies_of_a_picture_join_its_near_duplicates():
    groups = found(
        (0, b"a", 100, TRAIN), (0, b"b", 300, TRAIN), (0, b"a", 100, TEST), (0, b"b", 300, VAL)
    )
    assert members(groups) == [[2, 3, 1, 0]]
    assert not groups[0].exact


@pytest.mark.parametrize("flat", [False, True])
def test_pictures_without_contrast_are_compared_by_their_bytes_alone(flat):
    looks, splits = looks_of((0, b"a", 9, TRAIN), (0, b"b", 9, TRAIN), (0, b"b", 9, TEST))
    if flat:
        looks["descriptor"] = np.nan
    groups = find_groups(looks, splits, np.zeros(3, dtype=bool))
    assert members(groups) == ([[2, 1]] if flat else [[2, 0, 1]])


def test_broken_pictures_are_no_copies_of_each_other():
    looks, splits = looks_of((0, b"a", 9, TRAIN), (1, b"b", 9, TRAIN), (2, b"c", 9, TRAIN))
    looks[:2] = np.zeros((), dtype=LOOK)
    assert find_groups(looks, splits, np.zeros(3, dtype=bool)) == []
