import unicodedata
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.splits import (
    DEFAULT_SHARES,
    category_finder,
    name_hashes,
    random_subset,
    resembles_split,
    split_names,
    split_of,
)

name_lists = st.lists(st.text(min_size=1), unique_by=lambda n: unicodedata.normalize("NFC", n))
many = [f"cats/{i}.jpg" for i in range(4_000)]


def test_hash_is_blake2_of_the_composed_name():
    digest = blake2b("caf\u00e9.jpg".encode(), digest_size=8).digest()
    expected = (int.from_bytes(digest, "big") >> 11) / 2**53
    hashes = name_hashes(["caf\u00e9.jpg", "cafe\u0301.jpg", "cafe.jpg"])
    assert hashes[0] == hashes[1] == expected != hashes[2]


@given(name_lists)
def test_shares_that_add_up_to_one_partition_the_names(names):
    parts = split_names(names, DEFAULT_SHARES)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    assert all(parts.values())
    # No split is empty if there are enough images.
    if names:
        assert "train" in parts
    if len(names) >= 3:
        assert set(parts) == {"train", "val", "test"}


@given(st.lists(st.integers(0, 10_000), unique=True, min_size=30, max_size=60), st.integers(1, 29))
def test_added_files_do_not_move_others(numbers, count):
    names = [f"{number}.png" for number in numbers]
    first, both = (split_names(part, {"train": 0.5, "val": 0.5}) for part in (names[:count], names))
    # A split that was empty was given a name; no other name may move.
    natural = name_hashes(names) < 0.5
    if natural[:count].any() and not natural[:count].all():
        for split, part in first.items():
            assert set(part) <= set(both[split])


@given(st.tuples(*[st.floats(0.05, 0.3)] * 3))
def test_split_sizes_are_near_their_shares(shares):
    requested = dict(zip(("train", "val", "test"), shares, strict=True))
    parts = split_names(many, requested)
    for split, share in requested.items():
        # Five standard deviations of a binomial of this many names.
        assert abs(len(parts[split]) / len(many) - share) < 5 * np.sqrt(0.25 / len(many))
    used = [name for part in parts.values() for name in part]
    assert len(used) == len(set(used))


@given(st.permutations(many[:30]))
def test_counts_are_exact_and_follow_the_hash_order(names):
    parts = split_names(names, {"test": 3, "train": 13, "val": 4})
    by_hash = sorted(names, key=lambda name: name_hashes([name])[0])
    assert {split: set(part) for split, part in parts.items()} == {
        "train": set(by_hash[:13]),
        "val": set(by_hash[13:17]),
        "test": set(by_hash[17:20]),
    }
    assert all(part == sorted(part, key=names.index) for part in parts.values())


def test_all_images_may_be_asked_for_but_not_more():
    names = [f"{number}.jpg" for number in range(6)]
    assert [*map(len, split_names(names, {"train": 4, "val": 2}).values())] == [4, 2]
    with pytest.raises(UsageError, match=r"7 images are asked for \(train 5, val 2\), 6 found"):
        split_names(names, {"train": 5, "val": 2})


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": 0.9, "val": 0.3}, "neither shares .*1.2.* nor counts"),
        ({"training": 0.9}, "'training' is none of train, val, test"),
        ({"train": 1.2, "val": -0.2}, "at least 0"),
        ({}, "at least 0"),
    ],
)
def test_invalid_splits_are_refused(splits, message):
    with pytest.raises(UsageError, match=message):
        split_names(many, splits)


@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 5))
def test_smaller_subsets_are_nested(one, other, seed):
    small, large = sorted((one, other))
    few, more = (random_subset(many[:300], count, seed) for count in (small, large))
    assert (len(few), len(more)) == (small, min(large, 300))
    assert set(few) <= set(more)
    assert more == sorted(more, key=many.index)


def test_subsets_differ_by_seed_and_not_by_split():
    assert random_subset(many, 100, 0) != random_subset(many, 100, 1)
    # Keyed apart from the split's hash: the subset of all must be spread over the splits.
    chosen = random_subset(many, 1000, 0)
    assert np.mean(name_hashes(chosen)) == pytest.approx(0.5, abs=0.04)


def test_splits_and_categories_of_folders():
    words = ["train", "Val", "valid", " validation ", "TEST", "Training", "testing", "train2017"]
    expected = ["train", "val", "val", "val", "test", "train", "test", None]
    assert [split_of(word) for word in words] == expected
    alike = ["training", "train2017", "photos_TEST", "dev", "trainset", "people", "latest"]
    assert [word for word in alike if resembles_split(word)] == alike[:5]
    names = ["a.jpg", "train/a.jpg", "Valid/cats/old/a.jpg", "cats/train/a.jpg", "train/test/a.jpg"]
    assert list(map(category_finder(names), names)) == [".", "train", "Valid", "cats", "train"]
    split = [name for name in names if split_of(name.partition("/")[0])]
    assert list(map(category_finder(split), split)) == [".", "cats", "test"]
