from pathlib import Path

import pytest
from PIL import Image

from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.sources import FolderSource, SourceError
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.data.splits import name_hashes
from tests.data.sources.conftest import counts, names_of, touch


def all_names(splits):
    return sorted(name for names in names_of(splits).values() for name in names)


FLAT = [f"{kind}/{i}.jpg" for kind in ("cats", "dogs/small") for i in range(50)]


def test_lists_any_depth_only_images_and_says_what_is_hidden(tmp_path, capsys):
    touch(tmp_path, "b.JPG", "a/b/c/d.png", "a.tiff", "notes.txt", ".hidden.jpg", "noending")
    touch(tmp_path, "__MACOSX/x.jpg", ".ipynb_checkpoints/x.png", "a/.git/x.webp", "a/B.jpg")
    assert list_images(tmp_path) == ["a.tiff", "a/B.jpg", "a/b/c/d.png", "b.JPG"]
    for _ in range(2):  # said once
        FolderSource().splits(tmp_path)
    said = "not read: 4 hidden, 1 without a suffix"
    assert capsys.readouterr().err == f"{tmp_path}: {said}\n"


def test_links_are_followed_once(tmp_path):
    data = touch(tmp_path / "data", "z/1.jpg", "z/2.jpg")
    elsewhere = touch(tmp_path / "elsewhere", "3.jpg")
    links = {"a_link_to_z": "z", "z/loop": "..", "far": elsewhere, "again": elsewhere}
    links |= {"4.jpg": elsewhere / "3.jpg", "broken.jpg": "nowhere.jpg", "a.txt": "nowhere.txt"}
    for link, target in (links | {"itself": "itself", "itself.jpg": "itself.jpg"}).items():
        (data / link).symlink_to(target)
    # Dangling links are broken images, not fewer images.
    listed = ["4.jpg", "again/3.jpg", "broken.jpg", "itself.jpg", "z/1.jpg", "z/2.jpg"]
    assert list_images(data) == listed
    images = FolderSource(splits={"train": 1}).splits(data)["train"]
    for index, name in ((2, "broken.jpg"), (3, "itself.jpg")):
        with pytest.raises(ImageError, match=name):
            images.read(index)


def test_flat_folder_is_split_by_the_hash_of_the_relative_name(tmp_path):
    touch(tmp_path, *FLAT)
    splits = FolderSource().splits(tmp_path)
    assert all_names(splits) == sorted(FLAT)
    hashes = dict(zip(FLAT, name_hashes(FLAT), strict=True))
    for split, low, high in (("train", 0, 0.8), ("val", 0.8, 0.9), ("test", 0.9, 1)):
        assert names_of(splits)[split] == sorted(n for n in FLAT if low <= hashes[n] < high)


def test_sub_folders_are_the_splits_and_unused_images_are_reported(tmp_path, capsys):
    touch(tmp_path, "train/a/1.jpg", "Valid/2.jpg", "test/3.jpg", "unused/4.jpg", "5.jpg")
    assert names_of(FolderSource().splits(tmp_path)) == {
        "train": ["train/a/1.jpg"],
        "val": ["Valid/2.jpg"],
        "test": ["test/3.jpg"],
    }
    unused = "2 images outside of Valid/, test/, train/ not used (first: 5.jpg)"
    assert capsys.readouterr().err == f"{tmp_path}: {unused}\n"
    (tmp_path / "5.jpg").unlink()
    FolderSource(exclude="unused/*").splits(tmp_path)
    assert capsys.readouterr().err == ""


def test_missing_val_is_split_off_train_and_missing_test_is_absent(tmp_path):
    touch(tmp_path, *(f"train/{i}.jpg" for i in range(200)))
    splits = names_of(FolderSource().splits(tmp_path))
    assert set(splits) == {"train", "val"}
    assert sorted(splits["train"] + splits["val"]) == sorted(f"train/{i}.jpg" for i in range(200))
    assert 8 <= len(splits["val"]) <= 35
    touch(tmp_path, "test/1.jpg")
    assert names_of(FolderSource().splits(tmp_path)) == {**splits, "test": ["test/1.jpg"]}


@pytest.mark.parametrize(
    ("folders", "ignored"),
    [(("training", "testing"), ""), (("train2017", "x"), "train2017/"), (("a", "test"), "test/")],
)
def test_folders_that_resemble_splits_are_splits_or_named(tmp_path, capsys, folders, ignored):
    touch(tmp_path, *(f"{folder}/{i}.jpg" for folder in folders for i in range(20)))
    splits = names_of(FolderSource().splits(tmp_path))
    ends = [f"{tmp_path}: {ignored} ignored as splits"] if ignored else []
    assert [line.split(":")[:2] for line in capsys.readouterr().err.splitlines()] == [
        line.split(":") for line in ends
    ]
    assert ({name.partition("/")[0] for name in splits["test"]} == {"testing"}) == (not ignored)


def test_test_folder_is_a_split_alone_but_not_beside_other_folders(tmp_path):
    touch(tmp_path, *(f"test/{i}.jpg" for i in range(20)))
    assert set(FolderSource().splits(tmp_path)) == {"test"}
    touch(tmp_path, *(f"people/{i}.jpg" for i in range(20)))
    assert any(n.startswith("test/") for n in names_of(FolderSource().splits(tmp_path))["train"])


def test_counts(tmp_path):
    touch(tmp_path, *FLAT)
    expected = {"train": 60, "val": 30, "test": 10}
    assert counts(FolderSource(splits=expected).splits(tmp_path)) == expected
    with pytest.raises(SourceError, match=f"{tmp_path}: .*101 images.*100 found"):
        FolderSource(splits={"train": 101}).splits(tmp_path)


def test_splits_for_a_folder_that_is_already_split_are_refused(tmp_path):
    touch(tmp_path, "train/1.jpg", "validation/1.jpg")
    with pytest.raises(SourceError, match=r"already split, into train/, validation/: leave out"):
        FolderSource(splits={"train": 0.5, "val": 0.5}).splits(tmp_path)
    touch(tmp_path, "val/1.jpg")
    with pytest.raises(SourceError, match="both val/ and validation/"):
        FolderSource().splits(tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include": "a/*"}, ["a/basset_hound_1.jpg", "a/beagle_1.jpg"]),
        ({"include": ["x*", "*/beagle*"]}, ["a/beagle_1.jpg", "c/x.jpg"]),
        ({"exclude": ["basset*", "c/*"]}, ["a/beagle_1.jpg"]),
        ({"include": "poodle_*"}, r"none of 4 images matches include: poodle_\*"),
        ({"exclude": "*"}, "leave none of 4 images"),
    ],
)
def test_include_and_exclude_match_file_name_or_relative_name(tmp_path, options, expected):
    touch(tmp_path, "a/basset_hound_1.jpg", "a/beagle_1.jpg", "b/basset_hound_2.jpg", "c/x.jpg")
    source = FolderSource(**options)
    if isinstance(expected, str):
        with pytest.raises(SourceError, match=expected):
            source.splits(tmp_path)
    else:
        assert all_names(source.splits(tmp_path)) == expected


def test_max_images_limits_training_alone(tmp_path):
    touch(tmp_path, *FLAT)
    whole = names_of(FolderSource().splits(tmp_path))
    few = names_of(FolderSource(max_images=10).splits(tmp_path))
    other = names_of(FolderSource(max_images=10, seed=1).splits(tmp_path))
    assert len(few["train"]) == 10
    assert set(few["train"]) < set(whole["train"])
    assert few["train"] != other["train"]
    assert (few["val"], few["test"]) == (whole["val"], whole["test"])


def test_sample_draws_from_the_whole_folder_before_the_split(tmp_path):
    touch(tmp_path / "data", *FLAT)

    def drawn(**options):
        return names_of(FolderSource(**options).splits(tmp_path / "data"))

    whole, sampled = drawn(), drawn(sample=40)
    assert sum(map(len, sampled.values())) == 40
    assert sampled == drawn(sample=40)
    # The draw moves no image to another split and is independent of the split's own hash.
    for split, names in sampled.items():
        assert 0 < len(names) < len(whole[split])
        assert set(names) < set(whole[split])
    assert drawn(sample=40, seed=1) != sampled
    shares = {"train": 30, "val": 10}
    assert counts(FolderSource(sample=40, splits=shares).splits(tmp_path)) == shares
    assert drawn(sample=1000) == whole
    # An excluded image is replaced; the others stay.
    listed = tmp_path / "out.txt"
    listed.write_text(f"{sampled['train'][0]}\n")
    without = drawn(sample=40, exclude_list=listed)
    assert sum(map(len, without.values())) == 40
    assert set(sampled["train"][1:]) <= set(without["train"])


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (2, 2), (9, 8, 7)).save(touch(tmp_path / "photos", "x.jpg") / "1.png")
    splits = FolderSource(include="1.png").splits(Path("~/photos"))
    assert splits["train"].read(0)[:, 0, 0].tolist() == [9, 8, 7]
