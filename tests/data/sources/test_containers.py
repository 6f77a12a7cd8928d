"""The same images as a folder, a Hugging Face dataset, WebDataset tars and packed shards."""

import io
import json
import tarfile
from pathlib import Path
from unittest import mock

import datasets
import pytest
import torch

from lightning_colorize.cli import main
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.sources import (
    FolderSource,
    HuggingFaceSource,
    SourceError,
    WebDatasetSource,
)
from tests.conftest import make_image
from tests.data.conftest import assert_same, data_module
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
    """The root and the source of each form."""
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
        "folder": (photos, FolderSource()),
        "saved": (root / "saved", HuggingFaceSource(**notes)),
        "parquet": (root / "parquet", HuggingFaceSource(**notes)),
        "tars": (root / "tars", WebDatasetSource(label="cls", text="json.caption")),
        "shards": (root / "shards", WebDatasetSource()),
    }


def epochs(data):
    return [b for split in ("train", "val", "train", "test") for b in data.loader(split)]


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("saved", {"num_workers": 2}),
        ("saved", {"cache": "always"}),
        ("parquet", {}),
    ],
)
def test_batches_equal_those_of_the_folder(forms, form, options):
    expected = epochs(data_module(*forms["folder"], **{**options, "num_workers": 0}))
    assert len(expected) == 3 + 2 + 3 + 1
    assert_same(epochs(data_module(*forms[form], **options)), expected)


@pytest.mark.parametrize(
    ("form", "options"), [("tars", {}), ("tars", {"decode": "device"}), ("shards", {})]
)
def test_tars_have_the_same_images_in_their_own_order(forms, form, options):
    expected, batches = (epochs(data_module(*forms[own], **options)) for own in ("folder", form))
    pixels = [
        {name: rgb for batch in own for name, rgb in zip(batch.names, batch.rgb, strict=True)}
        for own in (expected, batches)
    ]
    assert len(pixels[0]) == 20
    assert pixels[0].keys() == pixels[1].keys()
    assert all(torch.equal(rgb, pixels[1][name]) for name, rgb in pixels[0].items())
    assert_same(epochs(data_module(*forms[form], num_workers=2, **options)), batches)


@pytest.mark.parametrize("form", ["saved", "parquet", "tars"])
def test_labels_and_texts(forms, photos, form):
    data = data_module(*forms[form])
    assert data.label_names == CLASSES
    for split in ("train", "val", "test"):
        rows = {f"{split}/{row['image']['path']}": row for row in rows_of(photos / split)}
        for batch in data.loader(split):
            own = [rows[name] for name in batch.names]
            assert batch.condition.labels.tolist() == [row["label"] for row in own]
            assert batch.condition.texts == [row["text"] or "" for row in own]


def test_a_single_split_is_divided_as_a_folder(photos, tmp_path):
    own = [row for part in sorted(photos.iterdir()) for row in rows_of(part)]
    for number, row in enumerate(own):
        row["image"]["path"] = f"{number}.jpg"
        (tmp_path / "flat").mkdir(exist_ok=True)
        (tmp_path / "flat" / f"{number}.jpg").write_bytes(row["image"]["bytes"])
    own.sort(key=lambda row: row["image"]["path"])
    datasets.Dataset.from_list(own, FEATURES).save_to_disk(tmp_path / "rows")
    write_tar(tmp_path / "a.tar", [member for row in own for member in members_of(row)])
    expected = names_of(FolderSource().splits(tmp_path / "flat"))
    assert sum(map(len, expected.values())) == 20
    listed = tmp_path / "out.txt"
    listed.write_text("3.jpg")
    for source, root in ((HuggingFaceSource, "rows"), (WebDatasetSource, "a.tar")):
        splits = source().splits(tmp_path / root)
        assert names_of(splits) == expected
        for images in splits.values():
            files = [(tmp_path / "flat" / name).read_bytes() for name in images.names]
            assert [images.encoded(index) for index in range(len(images))] == files
        counts = source(splits={"train": 9, "test": 2}).splits(tmp_path / root)
        assert {split: len(images) for split, images in counts.items()} == {"train": 9, "test": 2}
        left = source(exclude_list=listed).splits(tmp_path / root)
        assert sum(map(len, left.values())) == 19
        assert "3.jpg" not in [name for names in names_of(left).values() for name in names]


def test_names_that_occur_twice(tmp_path):
    image = {"bytes": b"1", "path": "a.jpg"}
    rows = [{"image": image}, {"image": {**image, "path": None}}, {"image": image}]
    features = datasets.Features(image=datasets.Image())
    datasets.Dataset.from_list(rows, features).save_to_disk(tmp_path / "rows")
    (images,) = HuggingFaceSource(splits={"train": 1}).splits(tmp_path / "rows").values()
    assert [*images.names] == ["a.jpg", "00000001", "00000002/a.jpg"]
    for tar in ("0.tar", "0/x.tar", "1.tar", "1/x.tar"):
        write_tar(tmp_path / tar, [("n1/a.b.jpg", b""), ("./n1/a.jpg", tar.encode())])
    (images,) = WebDatasetSource(splits={"train": 1}).splits(tmp_path).values()
    # A key ends at the first dot: a.b.jpg is not an image but a member of a.
    assert [*images.names] == [
        "n1/a.jpg",
        "x.tar/n1/a.jpg",
        "1.tar/n1/a.jpg",
        "x.tar/x.tar/n1/a.jpg",
    ]
    assert [images.encoded(i).decode() for i in range(4)] == [
        "0.tar",
        "0/x.tar",
        "1.tar",
        "1/x.tar",
    ]


def test_tars_at_urls(forms):
    import fsspec

    system = fsspec.filesystem("memory")
    root, source = forms["tars"]
    system.put(f"{root}/", "/bucket/set/", recursive=True)
    expected = epochs(data_module(*forms["tars"]))
    for url in ("bucket/set", "bucket/*/*.tar", "bucket/set/set-{train,val,test}-*.tar"):
        assert_same(epochs(data_module(f"memory://{url}", source)), expected)
    missing = "memory://bucket/set/set-{train,val}-{000..002}.tar"
    with pytest.raises(SourceError, match=r"^memory:///bucket/set/set-val-001.tar cannot be read"):
        source.splits(missing)
    splits = source.splits("memory://bucket/set/set-{train,val}-000.tar")
    assert {split: len(images) for split, images in splits.items()} == {"train": 5, "val": 5}
    system.rm("/bucket", recursive=True)
    assert splits["train"].read(0).shape == (3, 40, 40)  # downloaded before


def test_a_folder_may_have_any_name_and_extensions_any_case(tmp_path):
    (tmp_path / "of{a}[1]").mkdir()
    write_tar(tmp_path / "of{a}[1]/a.tar", [("1.JPG", b"one"), ("1.Cls", b"x")])
    (images,) = (
        WebDatasetSource("JPG", "CLS", splits={"train": 1}).splits(tmp_path / "of{a}[1]").values()
    )
    assert ([*images.names], [*images.notes.labels]) == (["1.JPG"], ["x"])


def test_an_index_is_kept_for_the_same_tar_only(tmp_path):
    write_tar(tmp_path / "a.tar", [("1.jpg", b"one"), ("1.cls", b"x")])
    source = WebDatasetSource(splits={"train": 1})
    with mock.patch.object(tarfile, "open", wraps=tarfile.open) as opened:
        for _ in range(3):
            assert [*source.splits(tmp_path)["train"].names] == ["1.jpg"]
        assert opened.call_count == 1
    labelled = WebDatasetSource(label="cls", splits={"train": 1})
    assert [*labelled.splits(tmp_path)["train"].notes.labels] == ["x"]
    write_tar(tmp_path / "a.tar", [("2.jpg", b"three")])
    images = source.splits(tmp_path)["train"]
    assert [*images.names] == ["2.jpg"]
    assert images.encoded(0) == b"three"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "empty file"),
        (lambda data: b"no tar" * 99, "invalid header|truncated"),
        (lambda data: data[: 5 * 512 + 99], "unexpected end of data|damaged or truncated"),
        (lambda data: data[: 6 * 512], "damaged or truncated at byte 3,072"),
        (lambda data: data[:1024] + b"x" * 512 + data[1536:], "damaged or truncated at byte 1,024"),
    ],
)
def test_damaged_tars_are_refused(tmp_path, damage, message):
    tar = tmp_path / "a.tar"
    write_tar(tar, [(f"{number}.jpg", b"image") for number in range(4)])
    tar.write_bytes(damage(tar.read_bytes()))
    with pytest.raises(SourceError, match=rf"^\S*a\.tar cannot be read as a tar: ({message})$"):
        WebDatasetSource().splits(tar)


IMAGE = ("a.jpg", b"")


@pytest.mark.parametrize(
    ("options", "members", "message"),
    [
        ({}, [("a.txt", b""), ("b.cls", b"")], "no image in the tars, only cls, txt"),
        ({}, [], "no image in the tars, only empty ones"),
        ({"image": "input.png"}, [IMAGE], r"no image \.input\.png in the tars, only jpg"),
        ({"label": "cls"}, [IMAGE], r"no label \.cls in the tars, only jpg"),
        ({"text": "json.a"}, [IMAGE, ("a.json", b"{}")], r"no text \.json\.a in the tars, only j"),
        ({"text": "json.a"}, [IMAGE, ("a.json", b"[]")], r"a\.json: .*'list'"),
        ({"text": "json.a"}, [IMAGE, ("a.json", b"{")], r"a\.json: Expecting"),
        ({"text": "txt"}, [IMAGE, ("a.txt", b"\xff")], r"a\.txt: 'utf-8' codec"),
        ({}, [IMAGE, ("a.png", b"")], "a has jpg and png: choose with source.image"),
        ({"splits": {"train": 2}}, [IMAGE], "2 images are asked for"),
    ],
)
def test_members_that_do_not_fit_are_one_line(tmp_path, options, members, message):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(UsageError, match=f"^[^\n]*{message}[^\n]*$"):
        WebDatasetSource(**options).splits(tmp_path)
    with pytest.raises(SourceError, match="matches no tar"):
        WebDatasetSource().splits(tmp_path / "gone-*.tar")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "picture"}, "has no column picture, only image, label, texts"),
        ({"label": "class"}, "has no column class, only image, label, texts"),
        ({"image": "label"}, r"column label has no images, but Value\('int64'\)"),
        ({"text": "texts"}, r"column texts needs one value per image, not List"),
        ({"splits": {"train": 3}}, "3 images are asked for"),
    ],
)
def test_columns_that_do_not_fit_are_one_line(tmp_path, options, message):
    row = {"image": {"bytes": b"", "path": None}, "label": 1, "texts": ["a", "b"]}
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    features["texts"] = datasets.List(datasets.Value("string"))
    datasets.Dataset.from_list([row], datasets.Features(features)).save_to_disk(tmp_path / "rows")
    with pytest.raises(UsageError, match=f"^[^\n]*{message}[^\n]*$"):
        HuggingFaceSource(**options).splits(tmp_path / "rows")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "rows is not a folder: HuggingFaceSource needs a folder of save_to_disk"),
        ({"a.txtx": b""}, "rows: no Hugging Face dataset: No (supported) data files found"),
        ({"train.parquet": b"none"}, "rows: no Hugging Face dataset: Parquet"),
        ({"state.json": b"{}"}, "rows: no Hugging Face dataset: "),
    ],
)
def test_folders_without_a_dataset_are_one_line(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / "rows").mkdir(exist_ok=True)
        (tmp_path / "rows" / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        HuggingFaceSource().splits(tmp_path / "rows")
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(caught.value)


def test_images_with_a_dot_in_their_name_are_named_once(tmp_path, capsys):
    write_tar(tmp_path / "a.tar", [IMAGE, ("b.1.jpg", b""), ("c.tar.gz", b"")])
    for _ in range(2):
        WebDatasetSource(splits={"train": 1}).splits(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}: images not used: .1.jpg: an extension begins at the")


def test_unknown_splits_are_named(forms, tmp_path, capsys):
    parts = {name: datasets.load_from_disk(str(forms["saved"][0] / "test")) for name in "ab"}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "none")
    with pytest.raises(SourceError, match=r"has the splits a \(3\), b \(3\), none of them train"):
        HuggingFaceSource().splits(tmp_path / "none")
    datasets.DatasetDict(train=parts["a"], extra=parts["b"]).save_to_disk(tmp_path / "some")
    assert names_of(HuggingFaceSource().splits(tmp_path / "some")).keys() == {"train", "val"}
    assert capsys.readouterr().err.endswith("some: images not used: extra (3)\n")
    with pytest.raises(SourceError, match="is already split, into train: leave out splits"):
        HuggingFaceSource(splits={"train": 1}).splits(tmp_path / "some")


def test_broken_images_are_replaced_and_listed(photos, tmp_path):
    rows = rows_of(photos / "train")
    rows[3]["image"]["bytes"] = b"no image"
    rows[5]["image"] = None
    parts = {"train": rows, "validation": rows_of(photos / "val")}
    parts = {split: datasets.Dataset.from_list(own, FEATURES) for split, own in parts.items()}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "rows")
    data = data_module(tmp_path / "rows", HuggingFaceSource(), max_broken_share=0.2)
    names = [name for batch in data.loader("train") for name in batch.names]
    assert len(names) == 12
    assert len({*names}) == 10
    data = data_module(tmp_path / "rows", HuggingFaceSource(), max_broken_share=0.05)
    with pytest.raises(WorkError, match="2 or more of 17 images cannot be read"):
        list(data.loader("train"))
