"""The same images as a folder, a Hugging Face dataset, WebDataset tars and LitData shards."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import datasets
import pytest
import torch
import yaml

from lightning_colorize.cli import main
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources import (
    FolderSource,
    HuggingFaceSource,
    ShardSource,
    SourceError,
    WebDatasetSource,
)
from tests.conftest import make_image
from tests.data.conftest import assert_same
from tests.data.sources.conftest import names_of

CLASSES = ["cat", "dog"]
FEATURES = datasets.Features(
    image=datasets.Image(), label=datasets.ClassLabel(names=CLASSES), text=datasets.Value("string")
)


@pytest.fixture(autouse=True)
def own_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def rows_of(folder, first=0):
    """Return the rows of a dataset: file, class and text of each image."""
    files = sorted(folder.iterdir())
    return [
        {
            "image": {"bytes": file.read_bytes(), "path": file.name},
            "label": (first + row) % 3 - 1,  # -1: none
            "text": f"image {file.stem}" if row else None,
        }
        for row, file in enumerate(files)
    ]


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def members_of(row):
    file = row["image"]["path"]
    key = Path(file).stem
    label = "" if row["label"] < 0 else CLASSES[row["label"]]
    yield f"{key}.json", json.dumps({"caption": row["text"], "label": label}).encode()
    yield file, row["image"]["bytes"]
    yield f"{key}.cls", label.encode()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Square JPEGs: 12 for training, 5 for validation, 3 for the test."""
    folder = tmp_path_factory.mktemp("same") / "photos"
    for split, count, first in (("train", 12, 0), ("val", 5, 20), ("test", 3, 30)):
        (folder / split).mkdir(parents=True)
        for number in range(first, first + count):
            image = make_image(number, 40, 40)
            image.save(folder / split / f"{number:03d}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def forms(photos, tmp_path_factory):
    """The source and the root of each form."""
    root = tmp_path_factory.mktemp("forms")
    rows = {part.name: rows_of(part) for part in photos.iterdir()}
    parts = {
        "validation" if split == "val" else split: datasets.Dataset.from_list(own, FEATURES)
        for split, own in rows.items()
    }
    datasets.DatasetDict(parts).save_to_disk(root / "saved")
    for split, part in parts.items():
        part.to_parquet(root / "parquet" / f"{split}-00000-of-00001.parquet")
    for split, own in rows.items():
        for number in range(0, len(own), 5):
            members = [m for row in own[number : number + 5] for m in members_of(row)]
            write_tar(root / "tars" / f"set-{split}-{number // 5:03d}.tar", members)
    pack = ["--size", "40", "--encoding", "uint8", "--images-per-shard", "4", "--workers", "1"]
    assert main(["pack", str(photos), str(root / "shards"), *pack]) == 0
    notes = {"label": "label", "text": "text"}
    return {
        "folder": (FolderSource(), photos),
        "saved": (HuggingFaceSource(**notes), root / "saved"),
        "parquet": (HuggingFaceSource(**notes), root / "parquet"),
        "tars": (WebDatasetSource(label="cls", text="json.caption"), root / "tars"),
        "shards": (ShardSource(), root / "shards"),
    }


def module(form, workers=0, **options):
    source, root = form
    settings = {"size": 32, "batch_size": 4, "cache": "never", "seed": 3, **options}
    data = ColorizationDataModule(str(root), source, num_workers=workers, **settings)
    data.prepare_data()
    data.setup()
    return data


def epochs(data):
    return [b for split in ("train", "val", "train", "test") for b in data.loader(split)]


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("saved", {}),
        ("saved", {"workers": 2}),
        ("saved", {"cache": "always"}),
        ("parquet", {}),
        ("tars", {}),
        ("tars", {"workers": 2}),
        ("tars", {"cache": "always"}),
        ("tars", {"decode": "device"}),
    ],
)
def test_batches_equal_those_of_the_folder(forms, form, options):
    expected = epochs(module(forms["folder"], **{**options, "workers": 0}))
    assert len(expected) == 3 + 2 + 3 + 1
    assert_same(epochs(module(forms[form], **options)), expected)


def test_shards_have_the_same_images_in_their_own_order(forms):
    batches = {form: epochs(module(forms[form])) for form in ("folder", "shards")}
    pixels = [
        {name: rgb for batch in own for name, rgb in zip(batch.names, batch.rgb, strict=True)}
        for own in batches.values()
    ]
    assert len(pixels[0]) == 20
    assert pixels[0].keys() == pixels[1].keys()
    assert all(torch.equal(rgb, pixels[1][name]) for name, rgb in pixels[0].items())


@pytest.mark.parametrize("form", ["folder", "saved", "parquet", "tars", "shards"])
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_mid_epoch_is_exact(forms, form, workers):
    data = module(forms[form], workers)
    loader = data.train_dataloader()
    list(loader)
    iterator = iter(loader)
    next(iterator)
    state = data.state_dict()
    expected = [*iterator, *loader]
    resumed = module(forms[form])  # another number of workers
    resumed.load_state_dict(state)
    loader = resumed.train_dataloader()
    assert_same([*loader, *loader], expected)
