import os
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser
from PIL import Image

from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.corrupt import CorruptImages
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.sources import FolderSource, Source, SourceError
from lightning_colorize.data.sources.listing import list_images, read_name_list
from lightning_colorize.data.splits import name_hashes


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names_of(splits):
    return {split: [p.name(i) for i in range(len(p))] for split, p in splits.items()}


def all_names(splits):
    return sorted(name for names in names_of(splits).values() for name in names)


FLAT = [f"{kind}/{i}.jpg" for kind in ("cats", "dogs/small") for i in range(50)]


def test_lists_any_depth_and_only_images(tmp_path):
    touch(tmp_path, "b.JPG", "a/b/c/d.png", "a.tiff", "notes.txt", ".hidden.jpg", "noending")
    touch(tmp_path, "__MACOSX/x.jpg", ".ipynb_checkpoints/x.png", "a/.git/x.webp", "a/B.jpg")
    assert list_images(tmp_path) == ["a.tiff", "a/B.jpg", "a/b/c/d.png", "b.JPG"]


def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "data", "z/1.jpg", "z/2.jpg")
    touch(tmp_path / "elsewhere", "3.jpg")
    (tmp_path / "data" / "a_link_to_z").symlink_to("z")
    (tmp_path / "data" / "z" / "loop").symlink_to("..")
    (tmp_path / "data" / "far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "4.jpg").symlink_to(tmp_path / "elsewhere" / "3.jpg")
    (tmp_path / "data" / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "data" / "itself").symlink_to("itself")
    (tmp_path / "data" / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "data" / "not an image.txt").symlink_to("nowhere.txt")
    listed = list_images(tmp_path / "data")
    # Those that lead nowhere are broken images, not fewer images.
    assert listed == ["4.jpg", "again/3.jpg", "broken.jpg", "itself.jpg", "z/1.jpg", "z/2.jpg"]
    images = FolderSource(splits={"train": 1}).splits(tmp_path / "data")["train"]
    for number, name in ((2, "broken.jpg"), (3, "itself.jpg")):
        with pytest.raises(ImageError, match=name):
            images.read(number)


def test_flat_folder_is_split_by_the_hash_of_the_relative_name(tmp_path):
    touch(tmp_path, *FLAT)
    images = FolderSource().splits(tmp_path)
    splits = names_of(images)
    hashes = dict(zip(FLAT, name_hashes(FLAT), strict=True))
    assert all_names(images) == sorted(FLAT)
    assert {n for n in FLAT if hashes[n] < 0.8} == set(splits["train"])
    assert {n for n in FLAT if hashes[n] >= 0.9} == set(splits["test"])


def test_split_stays_when_files_are_added_and_when_the_folder_moves(tmp_path):
    first = names_of(FolderSource().splits(touch(tmp_path / "here", *FLAT)))
    more = [f"added/{i}.png" for i in range(100)]
    second = names_of(FolderSource().splits(touch(tmp_path / "there", *more, *FLAT)))
    for split, names in first.items():
        assert [name for name in second[split] if name in FLAT] == names


def test_sub_folders_are_the_splits_and_what_lies_beside_them_is_said(tmp_path, capsys):
    touch(tmp_path, "train/a/1.jpg", "Valid/2.jpg", "test/3.jpg", "unused/4.jpg", "5.jpg")
    assert names_of(FolderSource().splits(tmp_path)) == {
        "train": ["train/a/1.jpg"],
        "val": ["Valid/2.jpg"],
        "test": ["test/3.jpg"],
    }
    unused = "2 images beside Valid/, test/, train/ not used (first: 5.jpg)"
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


def test_only_test_is_a_test_split_but_not_beside_other_folders(tmp_path):
    touch(tmp_path, *(f"test/{i}.jpg" for i in range(20)))
    assert set(FolderSource().splits(tmp_path)) == {"test"}
    touch(tmp_path, *(f"people/{i}.jpg" for i in range(20)))
    splits = names_of(FolderSource().splits(tmp_path))
    assert any(name.startswith("test/") for name in splits["train"])


def test_counts(tmp_path):
    touch(tmp_path, *FLAT)
    splits = FolderSource(splits={"train": 60, "val": 30, "test": 10}).splits(tmp_path)
    assert {split: len(p) for split, p in splits.items()} == {"train": 60, "val": 30, "test": 10}
    with pytest.raises(SourceError, match=f"{tmp_path}: .*101 images.*100 found"):
        FolderSource(splits={"train": 101}).splits(tmp_path)


def test_splits_for_a_folder_that_is_split_are_refused(tmp_path):
    touch(tmp_path, "train/1.jpg", "validation/1.jpg")
    with pytest.raises(SourceError, match=r"split already, into train/, validation/: leave out"):
        FolderSource(splits={"train": 0.5, "val": 0.5}).splits(tmp_path)
    touch(tmp_path, "val/1.jpg")
    with pytest.raises(SourceError, match="both val/ and validation/"):
        FolderSource().splits(tmp_path)


def test_include_and_exclude_match_file_name_or_relative_name(tmp_path):
    touch(tmp_path, "a/basset_hound_1.jpg", "a/beagle_1.jpg", "b/basset_hound_2.jpg", "c/x.jpg")

    def found(**options):
        return all_names(FolderSource(**options).splits(tmp_path))

    assert found(include="basset_hound_*") == ["a/basset_hound_1.jpg", "b/basset_hound_2.jpg"]
    assert found(include="a/*") == ["a/basset_hound_1.jpg", "a/beagle_1.jpg"]
    assert found(include=["x*", "*/beagle*"]) == ["a/beagle_1.jpg", "c/x.jpg"]
    assert found(exclude=["basset*", "c/*"]) == ["a/beagle_1.jpg"]
    with pytest.raises(SourceError, match=r"none of 4 images matches include: poodle_\*"):
        FolderSource(include="poodle_*").splits(tmp_path)
    with pytest.raises(SourceError, match="leave none of 4 images"):
        FolderSource(exclude="*").splits(tmp_path)


def test_exclude_list(tmp_path):
    touch(tmp_path / "data", "a/1.jpg", "2.jpg", "3.jpg")
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"# broken\r\na/1.jpg\r\n\r\n3.jpg\n")
    splits = FolderSource(exclude_list=listed).splits(tmp_path / "data")
    assert names_of(splits) == {"train": ["2.jpg"]}
    listed.write_text("data/2.jpg\n")
    with pytest.raises(SourceError, match=r"no name in .*list\.txt is of an image"):
        FolderSource(exclude_list=listed).splits(tmp_path / "data")
    listed.write_text("a/1.jpg\n2.jpg\n3.jpg\n")
    with pytest.raises(SourceError, match=r"list\.txt leaves none of the images in"):
        FolderSource(exclude_list=listed).splits(tmp_path / "data")
    listed.write_text("# nothing wrong\n")
    assert sum(map(len, FolderSource(exclude_list=listed).splits(tmp_path / "data").values())) == 3
    with pytest.raises(SourceError, match=r"gone\.txt cannot be read: No such file"):
        FolderSource(exclude_list=tmp_path / "gone.txt").splits(tmp_path / "data")


def test_the_list_of_a_run_s_broken_images_excludes_them(tmp_path):
    touch(tmp_path / "data", "train/1.jpg", "train/2.jpg", "val/3.jpg")
    broken = CorruptImages(3, 1.0, tmp_path / "broken.txt")
    for images in FolderSource().splits(tmp_path / "data").values():
        broken.add(CachedImages(images, 8).corrupt)
    Image.new("RGB", (2, 2)).save(tmp_path / "data" / "train" / "4.png")
    source = FolderSource(exclude_list=tmp_path / "broken.txt")
    assert all_names(source.splits(tmp_path / "data")) == ["train/4.png"]


def test_names_that_would_be_comments_or_several_lines_are_excluded_too(tmp_path):
    names = [
        "#1.jpg",
        "a#2.jpg",
        "3\n4.jpg",
        "5\r6.jpg",
        "7\\n8.jpg",
        "\\#9.jpg",
        " 10.jpg",
        "\udce9.jpg",
    ]
    touch(tmp_path / "data", *names)
    Image.new("RGB", (2, 2)).save(tmp_path / "data" / "whole.png")
    broken = CorruptImages(len(names), 1.0, tmp_path / "broken.txt")
    for images in FolderSource(splits={"train": 1.0}).splits(tmp_path / "data").values():
        broken.add(CachedImages(images, 8).corrupt)
    assert read_name_list(tmp_path / "broken.txt") == set(names)
    source = FolderSource(exclude_list=tmp_path / "broken.txt")
    assert all_names(source.splits(tmp_path / "data")) == ["whole.png"]


def test_a_backslash_before_any_other_letter_is_one(tmp_path):
    (tmp_path / "list.txt").write_text("\\a\\b.jpg\n")
    assert read_name_list(tmp_path / "list.txt") == {"\\a\\b.jpg"}


def test_max_images_takes_from_training_alone(tmp_path):
    touch(tmp_path, *FLAT)
    whole = names_of(FolderSource().splits(tmp_path))
    few = names_of(FolderSource(max_images=10).splits(tmp_path))
    other = names_of(FolderSource(max_images=10, seed=1).splits(tmp_path))
    assert len(few["train"]) == 10
    assert set(few["train"]) < set(whole["train"])
    assert few["train"] != other["train"]
    assert (few["val"], few["test"]) == (whole["val"], whole["test"])
    with pytest.raises(SourceError, match="max_images is 0"):
        FolderSource(max_images=0)


def test_unusable_roots_are_one_line(tmp_path, monkeypatch):
    def message(root):
        with pytest.raises(SourceError) as caught:
            FolderSource().splits(root)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "pass --data.root FOLDER" in message(None)
    assert message(tmp_path / "gone").startswith(f"{tmp_path / 'gone'} does not exist")
    assert f"{tmp_path} is empty" in message(tmp_path)
    touch(tmp_path, "list.csv", "sub/a.txt", "sub/b.txt", "c")
    assert "holds 4 files, none of them an image (.txt, " in message(tmp_path)
    touch(tmp_path / "packing", "train/chunk-0-0.bin")
    assert "pack again, to its end, or name the folder of" in message(tmp_path / "packing")
    assert "is a file" in message(tmp_path / "sub" / "a.txt")
    assert "ManifestSource" in message(tmp_path / "list.csv")
    touch(tmp_path, "a.jpg")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert message(tmp_path) == f"{tmp_path} cannot be listed: Permission denied"


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (2, 2), (9, 8, 7)).save(touch(tmp_path / "photos", "x.jpg") / "1.png")
    splits = FolderSource(include="1.png").splits(Path("~/photos"))
    assert splits["train"].read(0)[:, 0, 0].tolist() == [9, 8, 7]


def test_built_from_yaml(tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Source, "source")
    (tmp_path / "c.yaml").write_text(
        "class_path: lightning_colorize.data.sources.FolderSource\n"
        "init_args:\n"
        "  include: 'basset_hound_*'\n"
        "  exclude: ['*_1.jpg']\n"
        "  splits: {train: 3, val: 2}\n"
    )
    arguments = [f"--source={tmp_path / 'c.yaml'}"]
    source = parser.instantiate(parser.parse_args(arguments)).source
    touch(tmp_path, *(f"basset_hound_{i}.jpg" for i in range(10)), "beagle_2.jpg")
    splits = source.splits(tmp_path)
    assert {split: len(images) for split, images in splits.items()} == {"train": 3, "val": 2}
    assert not {"basset_hound_1.jpg", "beagle_2.jpg"} & set(all_names(splits))
    on_the_line = parser.parse_args([*arguments, "--source.include=*.jpg"])
    assert parser.instantiate(on_the_line).source.include == "*.jpg"
