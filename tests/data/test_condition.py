"""Labels and texts on their way from a source to the batch on the device."""

import shutil
from pathlib import Path

import pytest

from lightning_colorize.cli import main
from lightning_colorize.data.image_set import ConcatImages, FileImages, NameList, Notes
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources import (
    FolderSource,
    ImageNetSource,
    ManifestSource,
    MixtureSource,
    OxfordPetSource,
    WebDatasetSource,
)
from lightning_colorize.training.callbacks.terminal import condition_rows
from tests.conftest import write_images
from tests.data.conftest import names_in, run
from tests.data.sources.conftest import touch

BREEDS = {"000": "beagle", "001": "pug", "002": "", "003": "pug", "004": "beagle"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes, an image without one and a broken one, as folders and as a list."""
    root = tmp_path_factory.mktemp("condition") / "photos"
    rows = ["path,split,Breed,caption"]
    for split in ("train", "val"):
        write_images(root / split, 5)
        for path in sorted((root / split).iterdir()):
            breed = BREEDS[path.stem]
            rows.append(f'{split}/{breed}/{path.name},{split},{breed},"{breed}, \n{path.stem}"')
            (root / split / breed).mkdir(exist_ok=True)
            path.rename(root / split / breed / path.name)
    (root / "train" / "beagle" / "000.bad.jpg").write_bytes(b"no image")
    rows.insert(1, "train/beagle/000.bad.jpg,train,beagle,bad")
    (root / "list.csv").write_text("\n".join(rows))
    return root


def folder(photos, tmp_path):
    return FolderSource(), photos


def manifest(photos, tmp_path):
    return ManifestSource(label="breed", text="Caption"), photos / "list.csv"


def shards(photos, tmp_path):
    assert main(["pack", str(photos), str(tmp_path / "shards"), "--size", "32"]) == 1
    return WebDatasetSource(), tmp_path / "shards"


def shards_of_a_manifest(photos, tmp_path):
    words = ["--size", "32", "--images-per-shard", "2", "--label", "Breed", "--text", "caption"]
    assert main(["pack", str(photos / "list.csv"), str(tmp_path / "shards"), *words]) == 1
    return WebDatasetSource(), tmp_path / "shards"


@pytest.mark.parametrize(
    ("form", "reading"),
    [
        (folder, {"cache": "always"}),
        (shards, {"cache": "never"}),
        (shards_of_a_manifest, {"cache": "never", "num_workers": 2}),
        (manifest, {"cache": "never", "decode": "device"}),
        (manifest, {"cache": "device"}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_labels_and_texts_arrive(photos, tmp_path, form, reading):
    source, root = form(photos, tmp_path)
    data = ColorizationDataModule(
        str(root),
        source,
        size=24,
        batch_size=2,
        **{"num_workers": 0, "max_broken_share": 1, **reading},
    )
    recorder = run(data, tmp_path, test=False, max_epochs=2)
    assert data.label_names == ["beagle", "pug"]
    texts = form in (manifest, shards_of_a_manifest)
    assert {*names_in(recorder.batches["train"])} <= {*names_in(data.color_batches("train"))}
    assert len(recorder.batches["val"]) == 6
    for batch in [*recorder.batches["train"], *recorder.batches["val"]]:
        breeds = [BREEDS[name[-7:-4]] for name in batch.names]
        codes = [-1 if not breed else data.label_names.index(breed) for breed in breeds]
        assert batch.condition.labels.tolist() == codes
        expected = [f"{b}, \n{n[-7:-4]}" for b, n in zip(breeds, batch.names, strict=True)]
        assert batch.condition.texts == (expected if texts else None)
    rows = [("labels", "2: beagle, pug")]
    count = 6 if form is manifest else 5
    assert condition_rows(data) == rows + [("texts", f"{count} train, 5 val")] * texts


@pytest.mark.parametrize(
    ("source", "names", "expected"),
    [
        (
            FolderSource(),
            ["train/a/x/1.jpg", "train/b/1.jpg", "train/1.jpg", "val/c/1.jpg", "test/1.jpg"],
            {"train": ["", "a", "b"], "val": ["c"], "test": [""]},
        ),
        (FolderSource(), ["train/a/1.jpg", "val/b/1.jpg"], {"train": None, "val": None}),
        (
            FolderSource(splits={"train": 1}),
            ["2019/05/1.jpg", "2020/1/1.jpg"],
            {"train": ["2019", "2020"]},
        ),
        (
            ImageNetSource(),
            ["train/n1/1.JPEG", "train/n2/1.JPEG", "val/1.JPEG"],
            {"train": ["n1", "n2"], "val": [""]},
        ),
        (
            MixtureSource({"a": 1, "b": 1}),
            ["a/train/1.jpg", "a/val/1.jpg", "b/train/x/1.jpg", "b/train/y/1.jpg", "b/val/z.jpg"],
            {"train": ["a", "b", "b"], "val": ["a", "b"]},
        ),
        (MixtureSource({"a": 1}), ["a/train/x/1.jpg", "a/val/1.jpg"], {"train": None, "val": None}),
        (
            OxfordPetSource(None, splits={"train": 1}),
            ["images/Abyssinian_1.jpg", "images/pug_1.jpg"],
            {"train": ["Abyssinian", "pug"]},
        ),
        (OxfordPetSource("pug", splits={"train": 1}), ["images/pug_1.jpg"], {"train": None}),
    ],
)
def test_labels_of_folders(tmp_path, source, names, expected):
    splits = source.splits(touch(tmp_path, *names))
    labels = {split: images.notes.labels for split, images in splits.items()}
    assert {split: own and [*own] for split, own in labels.items()} == expected


def test_labels_that_training_does_not_have(tmp_path, photo_folder):
    names = ["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg", "val/d/1.jpg", "val/a/1.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(photo_folder / "train" / "001.jpg", tmp_path / name)
    data = ColorizationDataModule(str(tmp_path), size=8, num_workers=0)
    assert condition_rows(data) == []
    data.setup("fit")
    (batch,) = data.color_batches("val")
    assert batch.names == ["val/a/1.jpg", "val/c/1.jpg", "val/d/1.jpg"]
    assert batch.condition.labels.tolist() == [0, -1, -1]
    row = "2: a, b; 2 only in val or test, used as none"
    assert condition_rows(data) == [("labels", row)]
    data.label_names = [f"class_{number}" for number in range(1000)]
    assert condition_rows(data)[0][1].startswith("1,000: class_0, class_1, class_2, ")
    assert len(condition_rows(data)[0][1]) < 120


def test_notes_of_concatenated_sets():
    lists = NameList(["x", "y"]), NameList(["z"])
    parts = [FileImages(Path(), "ab", notes=Notes(lists[0])), FileImages(Path(), "c")]
    assert [*ConcatImages(parts).notes.labels] == ["x", "y", ""]
    parts = [parts[1], FileImages(Path(), "d", notes=Notes(None, lists[1]))]
    assert ConcatImages(parts).notes.labels is None
    assert [*ConcatImages(parts).notes.texts] == ["", "z"]
