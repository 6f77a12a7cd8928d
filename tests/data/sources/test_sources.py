"""What all sources have in common: lists of excluded images, and roots and settings they refuse."""

import os
from unittest.mock import Mock

import pytest
from PIL import Image

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.name_list import name_with_reason, read_name_list
from lightning_colorize.data.sources import (
    EmbeddedSource,
    FolderSource,
    HuggingFaceSource,
    ImageNetSource,
    ManifestSource,
    MixtureSource,
    OxfordPetSource,
    SourceError,
    WebDatasetSource,
    default_source,
    parse_root,
)
from tests.data.sources.conftest import names_of, touch

LOCAL = (FolderSource, ImageNetSource, ManifestSource, OxfordPetSource)


def test_default_source(tmp_path):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "pack.json").touch()
    assert isinstance(default_source(None), EmbeddedSource)
    assert isinstance(default_source(tmp_path), FolderSource)
    assert isinstance(default_source(tmp_path / "packed"), WebDatasetSource)
    assert isinstance(default_source(parse_root("s3://bucket/shards")), WebDatasetSource)
    assert parse_root("s3://bucket/shards") == "s3://bucket/shards"


@pytest.mark.parametrize(
    ("source", "options", "root", "message"),
    [
        (EmbeddedSource, {"held_out": "cat"}, None, "'cat': it must be one of astronaut, chelsea"),
        (EmbeddedSource, {"windows": 3}, None, "windows is 3: it must be at least 4"),
        (EmbeddedSource, {"windows": 1_000_000}, None, "room for .* windows, 250,000 are needed"),
        (EmbeddedSource, {}, "", "leave out --data.root, or choose FolderSource"),
        (FolderSource, {"max_images": 0}, "", "max_images is 0: it must be at least 1"),
        (FolderSource, {}, None, "pass --data.root FOLDER"),
        (FolderSource, {}, "gone", "gone does not exist"),
        (FolderSource, {}, "empty", "is empty"),
        (FolderSource, {}, "text", r"holds 2 files, none of them an image \(.txt\)"),
        (FolderSource, {}, "tars", "holds no image but .tar files: pass .*/webdataset.yaml"),
        (FolderSource, {}, "text/a.txt", "is a file"),
        (FolderSource, {}, "list.csv", "ManifestSource"),
        (ImageNetSource, {"max_val": 0}, "", "max_val is 0"),
        (ImageNetSource, {}, None, "pass --data.root"),
        (ImageNetSource, {}, "flat", "no class folders"),
        (ImageNetSource, {}, "alone", "no folder val/: ImageNetSource needs ROOT/train"),
        (ImageNetSource, {}, "", "no folder train/"),
        (ManifestSource, {}, None, r"pass --data\.root FILE\.csv"),
        (ManifestSource, {}, "", "is a folder"),
        (ManifestSource, {}, "gone.csv", r"gone\.csv cannot be read: No such file"),
        (ManifestSource, {}, "image.png", "not a CSV file in UTF-8"),
        (MixtureSource, {"folders": {}}, "", "at least one folder"),
        (MixtureSource, {"folders": {"a": 0}}, "", "weight of a is .* above 0"),
        (MixtureSource, {"folders": {"a": -1}}, "", "weight of a is .* above 0"),
        (MixtureSource, {"folders": {"a": float("nan")}}, "", "weight of a is .* above 0"),
        (MixtureSource, {"folders": {"a": float("inf")}}, "", "weight of a is inf: .* finite"),
        (MixtureSource, {"folders": {"a": 1, "b": 1}}, "", "b does not exist: folders must name"),
        (MixtureSource, {"folders": {"a": 1, "a/b": 1}}, "", "a includes .*: name one of them"),
        (MixtureSource, {"folders": {"a/b": 1, "a": 1}}, "", "a includes .*: name one of them"),
        (MixtureSource, {"folders": {"a": 1, "./a": 1}}, "", "a includes .*: name one of them"),
        (OxfordPetSource, {}, None, r"pass --data\.root"),
        (HuggingFaceSource, {}, None, r"needs a folder of save_to_disk .* pass --data\.root"),
        (HuggingFaceSource, {}, "s3://bucket/x", "not s3://bucket/x"),
        (WebDatasetSource, {}, None, r"pass --data\.root"),
        (WebDatasetSource, {}, "teapot://x", r"teapot://x/pack.json cannot be read: .*teapot"),
        (WebDatasetSource, {"window": 0}, "", "window is 0: it must be at least 1"),
        *((source, {}, "s3://bucket/x", "not s3://bucket/x: pack them with") for source in LOCAL),
        (MixtureSource, {"folders": {"a": 1}}, "s3://bucket/x", "not s3://bucket/x: pack them"),
    ],
)
def test_wrong_roots_and_settings_are_one_line(tmp_path, source, options, root, message):
    touch(tmp_path, "list.csv", "text/a.txt", "text/b.txt")
    touch(tmp_path, "tars/a.tar")
    touch(tmp_path, "flat/train/1.JPEG", "alone/train/n1/1.JPEG", "a/1.jpg", "a/b/1.jpg")
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (9, 9), (200, 100, 255)).save(tmp_path / "image.png")
    if root is not None and "://" not in root:
        root = tmp_path / root
    with pytest.raises(UsageError, match=f"^[^\n]*{message}[^\n]*$"):
        source(**options).splits(root)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    error = PermissionError(13, "Permission denied", f"{tmp_path}")
    monkeypatch.setattr(os, "scandir", Mock(side_effect=error))
    with pytest.raises(SourceError, match=f"^{tmp_path} cannot be listed: Permission denied$"):
        FolderSource().splits(tmp_path)


IMAGENET = [f"train/n0144{k}/{i}.JPEG" for k in range(2) for i in range(3)]
MIXED = [f"{folder}/train/{i}.jpg" for folder in ("faces", "hills") for i in range(2)]


@pytest.mark.parametrize(
    ("source", "options", "excluded", "left"),
    [
        (FolderSource, {}, ["train/1.jpg", "2.jpg"], {"train": ["train/a/0.jpg"]}),
        (
            ImageNetSource,
            {"max_images": 5, "max_val": 1},  # excluded images do not count
            [IMAGENET[0], "val/1.JPEG"],
            {"train": IMAGENET[1:], "val": ["val/0.JPEG"]},
        ),
        (ImageNetSource, {}, ["val/0.JPEG", "val/1.JPEG"], {"train": IMAGENET}),
        (
            MixtureSource,
            {"folders": {"faces": 1, "hills": 1}},
            ["faces/train/1.jpg", "hills/val/1.jpg"],
            {"train": [MIXED[0], *MIXED[2:]], "val": ["faces/val/1.jpg", "hills/val/2.jpg"]},
        ),
    ],
)
def test_excluded_images_are_left_out(tmp_path, source, options, excluded, left):
    every = [*excluded, *(name for names in left.values() for name in names)]
    touch(tmp_path / "data", *every)
    listed = tmp_path / "list.txt"
    listed.write_text("# broken\r\n\r\n" + "\r\n".join(excluded))
    own = source(exclude_list=listed, **options)
    assert names_of(own.splits(tmp_path / "data")) == left
    listed.write_text("# nothing wrong\n")
    whole = names_of(own.splits(tmp_path / "data"))
    assert sum(map(len, whole.values())) >= sum(map(len, left.values()))
    mixed = r"no name in .*list\.txt begins with faces/ or hills/"
    for text, message in (
        ("data/2.jpg\n", mixed if source is MixtureSource else r"list\.txt names no image in"),
        ("\n".join(every), "leave none of" if source is MixtureSource else "excludes every image"),
    ):
        listed.write_text(text)
        with pytest.raises(SourceError, match=message):
            own.splits(tmp_path / "data")
    listed.unlink()
    with pytest.raises(UsageError, match=r"list\.txt cannot be read: No such file"):
        own.splits(tmp_path / "data")


def test_names_that_need_escaping_are_excluded(tmp_path):
    names = ["#1.jpg", "a#2.jpg", "3\n4.jpg", "5\r6.jpg", "7\\n8.jpg", "\\#9.jpg", " 10.jpg"]
    names += ["\udce9.jpg", "\x1b[2J.jpg", "\u202egpj.jpg", "\\x1b.jpg", "\t\U000e0001.jpg"]
    touch(tmp_path / "data", *names, "é.jpg", "whole.png")
    listed = tmp_path / "broken.txt"
    text = "".join(name_with_reason(name, f"copy of {name}") for name in [*names, "é.jpg"])
    assert text.replace("\n", "").isprintable()
    listed.write_text(text, errors="surrogateescape", newline="")
    assert read_name_list(listed) == {*names, "é.jpg"}
    splits = FolderSource(exclude_list=listed).splits(tmp_path / "data")
    assert names_of(splits) == {"train": ["whole.png"]}
    listed.write_text("\\a\\b.jpg\n")  # a backslash before any other letter is one
    assert read_name_list(listed) == {"\\a\\b.jpg"}
