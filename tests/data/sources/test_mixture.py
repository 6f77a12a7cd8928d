from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from lightning_colorize.data.sources import (
    FolderSource,
    MixtureFolder,
    MixtureSource,
    Source,
)
from tests.conftest import write_images
from tests.data.sources.conftest import names_of, touch


def share_of(images, start):
    first = [images.name(i).startswith(start) for i in range(len(images))]
    return images.weights[first].sum() / images.weights.sum()


def test_folders_are_sampled_by_weight_and_not_by_size(tmp_path):
    touch(tmp_path / "faces", *(f"train/{i}.jpg" for i in range(90)), "val/1.jpg", "test/1.jpg")
    touch(tmp_path / "hills", *(f"train/{i}.jpg" for i in range(10)), "val/1.jpg", "val/2.jpg")
    splits = MixtureSource({"faces": 1, "hills": 3}).splits(tmp_path)
    assert len(splits["train"]) == 100
    assert share_of(splits["train"], "faces/") == pytest.approx(0.25)
    assert share_of(splits["train"], "hills/") == pytest.approx(0.75)
    assert splits["val"].weights is None
    assert names_of(splits)["val"] == ["faces/val/1.jpg", "hills/val/1.jpg", "hills/val/2.jpg"]
    assert names_of(splits)["test"] == ["faces/test/1.jpg"]


def test_folders_with_further_settings(tmp_path):
    touch(tmp_path / "a" / "images", *(f"{kind}_{i}.jpg" for kind in "xy" for i in range(20)))
    touch(tmp_path / "b" / "images", *(f"{i}.jpg" for i in range(20)))
    touch(tmp_path / "c" / "images", *(f"{half}/{i}.jpg" for half in "cg" for i in range(20)))
    source = MixtureSource(
        [
            MixtureFolder(tmp_path / "a" / "images", include="x_*", splits={"train": 8, "val": 2}),
            MixtureFolder(Path("b/images"), 2.0, max_images=3, splits={"train": 1}),
            MixtureFolder(Path("c/images"), sample=5, seed=3, exclude="g/*", splits={"train": 1}),
        ]
    )
    splits = source.splits(tmp_path)
    names = names_of(splits)
    assert (len(names["train"]), len(names["val"])) == (8 + 3 + 5, 2)
    starts = ("a-images/x_", "b-images/", "c-images/c/")
    assert all(name.startswith(starts) for name in names["train"])
    assert share_of(splits["train"], "b-images/") == pytest.approx(2 / 4)
    sampled = FolderSource(exclude="g/*", sample=5, seed=3, splits={"train": 1})
    expected = names_of(sampled.splits(tmp_path / "c/images"))["train"]
    assert names["train"][-5:] == [f"c-images/{name}" for name in expected]


def test_without_root_folders_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    write_images(tmp_path / "photos" / "train", 1)
    monkeypatch.chdir(tmp_path)
    assert MixtureSource({"photos": 1}).splits(None)["train"].read(0).shape[0] == 3


@pytest.mark.parametrize("folders", ["{a: 1, b: 2.5}", "[{root: a}, {root: b, weight: 2.5}]"])
def test_built_from_yaml(tmp_path, folders):
    touch(tmp_path, "a/train/1.jpg", "b/train/1.jpg")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Source, "source")
    (tmp_path / "c.yaml").write_text(
        "class_path: lightning_colorize.data.sources.MixtureSource\n"
        f"init_args: {{folders: {folders}}}\n"
    )
    config = parser.parse_args([f"--source={tmp_path / 'c.yaml'}"])
    splits = parser.instantiate(config).source.splits(tmp_path)
    assert splits["train"].weights == pytest.approx([1, 2.5])
