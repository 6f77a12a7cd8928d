from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from PIL import Image

from lightning_colorize.data.sources import (
    ImageNetSource,
    ManifestSource,
    MixtureFolder,
    MixtureSource,
    Source,
    SourceError,
)
from lightning_colorize.data.splits import random_subset


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names_of(splits):
    return {split: [p.name(i) for i in range(len(p))] for split, p in splits.items()}


def share_of(images, start):
    first = [images.name(i).startswith(start) for i in range(len(images))]
    return images.weights[first].sum() / images.weights.sum()


def test_mixture_draws_each_folder_by_its_weight_whatever_its_size(tmp_path):
    touch(tmp_path / "faces", *(f"train/{i}.jpg" for i in range(90)), "val/1.jpg", "test/1.jpg")
    touch(tmp_path / "hills", *(f"train/{i}.jpg" for i in range(10)), "val/1.jpg", "val/2.jpg")
    splits = MixtureSource({"faces": 1, "hills": 3}).splits(tmp_path)
    assert len(splits["train"]) == 100
    assert share_of(splits["train"], "faces/") == pytest.approx(0.25)
    assert share_of(splits["train"], "hills/") == pytest.approx(0.75)
    assert splits["val"].weights is None
    assert names_of(splits)["val"] == ["faces/val/1.jpg", "hills/val/1.jpg", "hills/val/2.jpg"]
    assert names_of(splits)["test"] == ["faces/test/1.jpg"]


def test_mixture_of_folders_with_settings_of_their_own(tmp_path):
    touch(tmp_path / "a" / "images", *(f"{kind}_{i}.jpg" for kind in "xy" for i in range(20)))
    touch(tmp_path / "b" / "images", *(f"{i}.jpg" for i in range(20)))
    source = MixtureSource(
        [
            MixtureFolder(tmp_path / "a" / "images", include="x_*", splits={"train": 8, "val": 2}),
            MixtureFolder(Path("b/images"), 2.0, max_images=3, splits={"train": 1}),
        ]
    )
    splits = source.splits(tmp_path)
    names = names_of(splits)
    assert len(names["train"]) == 11
    assert len(names["val"]) == 2
    assert all(name.startswith(("a-images/x_", "b-images/")) for name in names["train"])
    assert share_of(splits["train"], "b-images/") == pytest.approx(2 / 3)


def test_mixture_leaves_out_what_a_list_names_with_its_folder(tmp_path):
    for folder in ("faces", "hills"):
        touch(tmp_path / folder, *(f"train/{i}.jpg" for i in range(3)), "val/1.jpg")
    listed = tmp_path / "broken.txt"
    listed.write_text("# truncated\nfaces/train/1.jpg\n# truncated\nhills/val/1.jpg\n")
    splits = MixtureSource({"faces": 1, "hills": 1}, exclude_list=listed).splits(tmp_path)
    every = {f"{f}/train/{i}.jpg" for f in ("faces", "hills") for i in range(3)}
    names = [name for part in names_of(splits).values() for name in part]
    assert set(names) == every - {"faces/train/1.jpg"} | {"faces/val/1.jpg"}
    listed.write_text("train/1.jpg\n")
    with pytest.raises(SourceError, match=r"no name in .*broken\.txt begins with faces/ or hills/"):
        MixtureSource({"faces": 1, "hills": 1}, exclude_list=listed).splits(tmp_path)


def test_mixture_without_root_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    Image.new("RGB", (2, 2), (9, 8, 7)).save(touch(tmp_path, "train/x.png") / "train" / "x.png")
    monkeypatch.chdir(tmp_path.parent)
    splits = MixtureSource({tmp_path.name: 1}).splits(None)
    assert splits["train"].read(0)[:, 0, 0].tolist() == [9, 8, 7]


def test_mixture_says_what_is_wrong(tmp_path):
    touch(tmp_path, "a/1.jpg")
    for weight in (0, -1, float("nan")):
        with pytest.raises(SourceError, match=r"weight of a is .* above 0"):
            MixtureSource({"a": weight})
    with pytest.raises(SourceError, match="at least one folder"):
        MixtureSource({})
    with pytest.raises(SourceError, match="gone does not exist: folders must name"):
        MixtureSource({"a": 1, "gone": 1}).splits(tmp_path)
    touch(tmp_path, "a/faces/1.jpg")
    with pytest.raises(SourceError, match=r"faces lies inside .*a: name one"):
        MixtureSource({"a": 1, "a/faces": 1}).splits(tmp_path)
    with pytest.raises(SourceError, match="named twice"):
        MixtureSource({"a": 1, "./a": 1}).splits(tmp_path)


@pytest.mark.parametrize("folders", ["{a: 1, b: 2.5}", "[{root: a}, {root: b, weight: 2.5}]"])
def test_mixture_built_from_yaml(tmp_path, folders):
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


def manifest(folder, text):
    (folder / "list.csv").write_bytes(text.encode())
    return folder / "list.csv"


def test_manifest(tmp_path):
    pixels = np.full((2, 3, 3), 77, dtype=np.uint8)
    touch(tmp_path, "a/1.jpg", "2.jpg", "3, with comma.jpg")
    Image.fromarray(pixels).save(tmp_path / "4.png")
    path = manifest(
        tmp_path,
        "\ufeffPath, split,weight\r\na/1.jpg,train,2\r\n2.jpg,train,\r\n\r\n"
        f'"3, with comma.jpg",validation,5\r\n{tmp_path / "4.png"},Test,1\r\n',
    )
    splits = ManifestSource().splits(path)
    assert names_of(splits) == {
        "train": ["a/1.jpg", "2.jpg"],
        "val": ["3, with comma.jpg"],
        "test": [str(tmp_path / "4.png")],
    }
    assert splits["train"].weights.tolist() == [2, 1]
    assert splits["val"].weights is None
    assert splits["test"].read(0).tolist() == pixels.transpose(2, 0, 1).tolist()


def test_manifest_without_weights(tmp_path):
    touch(tmp_path, "1.jpg")
    splits = ManifestSource().splits(manifest(tmp_path, "path,split\n1.jpg,train\n"))
    assert splits["train"].weights is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"list\.csv is empty: its first line must be path,split"),
        ("path,split\n", "a header and no images"),
        ("file,split\n1.jpg,train\n", r"line 1: the header must be .*, not 'file,split'"),
        ("1.jpg,train\n", r"line 1: the header must be"),
        ("path,split\n1.jpg,train\n2.jpg,dev\n", r"line 3: the split 'dev' is none of train, val"),
        ("path,split\n\n1.jpg\n", r"line 3: 1 cells"),
        ("path,split,weight\n1.jpg,train,much\n", r"line 2: the weight 'much'"),
        ("path,split,weight\n1.jpg,train,-1\n", r"line 2: the weight '-1'"),
        ("path,split,weight\n1.jpg,train,nan\n", r"line 2: the weight 'nan'"),
        ("path,split,weight\n1.jpg,train,0\n", r"weights of all training images are 0"),
        ("path,split\n1.jpg,train\n\n1.jpg,val\n", r"line 4: 1\.jpg is in line 2 already"),
        ("path,split\n1.jpg,train\n./1.jpg,val\n", r"line 3: \./1\.jpg is in line 2 already"),
        (
            "path,split\n1.jpg,train\n9.jpg,train\n8.jpg,val\n",
            r"line 3: there is no file .*9\.jpg \(and 1 more\)",
        ),
        ("path,split\n\x001.jpg,train\n", "line 2: there is no file|no CSV file"),
    ],
)
def test_manifest_says_what_is_wrong_and_where(tmp_path, text, message):
    touch(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(SourceError, match=message) as caught:
        ManifestSource().splits(manifest(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_manifest_that_is_none(tmp_path):
    with pytest.raises(SourceError, match=r"pass --data\.root FILE\.csv"):
        ManifestSource().splits(None)
    with pytest.raises(SourceError, match="is a folder"):
        ManifestSource().splits(tmp_path)
    with pytest.raises(SourceError, match=r"gone\.csv cannot be read: No such file"):
        ManifestSource().splits(tmp_path / "gone.csv")
    Image.new("RGB", (9, 9), (200, 100, 255)).save(tmp_path / "x.png")
    with pytest.raises(SourceError, match="no CSV file in UTF-8"):
        ManifestSource().splits(tmp_path / "x.png")


TRAIN = [f"train/n0144{k}/n0144{k}_{i}.JPEG" for k in range(3) for i in range(4)]


@pytest.mark.parametrize("above", ["", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC"])
@pytest.mark.parametrize("val", ["val/ILSVRC2012_val_{:08d}.JPEG", "val/n01440/{}.JPEG"])
def test_imagenet(tmp_path, above, val):
    val_names = [val.format(i) for i in range(6)]
    touch(tmp_path / above, *TRAIN, *val_names, "test/ILSVRC2012_test_1.JPEG")
    splits = ImageNetSource().splits(tmp_path)
    assert names_of(splits) == {"train": TRAIN, "val": val_names}
    few = names_of(ImageNetSource(max_images=5, max_val=2).splits(tmp_path))
    assert (len(few["train"]), len(few["val"])) == (5, 2)
    assert set(few["train"]) < set(TRAIN)


def test_imagenet_leaves_out_what_a_list_names(tmp_path):
    val = [f"val/ILSVRC2012_val_{i:08d}.JPEG" for i in range(3)]
    touch(tmp_path / "Data" / "CLS-LOC", *TRAIN, *val)
    listed = tmp_path / "out.txt"
    listed.write_text(f"# truncated\n{TRAIN[0]}\n# tiny\n{val[2]}\n")
    splits = ImageNetSource(exclude_list=listed).splits(tmp_path)
    assert names_of(splits) == {"train": TRAIN[1:], "val": val[:2]}
    # What is left out leaves room: as many are chosen as there would be otherwise.
    few = names_of(ImageNetSource(max_images=11, max_val=2, exclude_list=listed).splits(tmp_path))
    assert few == {"train": TRAIN[1:], "val": val[:2]}
    listed.write_text("\n".join(val))
    assert names_of(ImageNetSource(exclude_list=listed).splits(tmp_path)) == {"train": TRAIN}


def test_imagenet_chooses_by_names_within_the_split(tmp_path):
    touch(tmp_path, *TRAIN, "val/1.JPEG")
    names = [name.removeprefix("train/") for name in TRAIN]
    chosen = names_of(ImageNetSource(max_images=5).splits(tmp_path))["train"]
    assert chosen == [f"train/{name}" for name in random_subset(names, 5, seed=0)]


def test_a_manifest_leaves_out_what_a_list_names(tmp_path):
    """Also files that are not there any more."""
    touch(tmp_path, "1.jpg", "b/3.jpg")
    path = manifest(tmp_path, "path,split,weight\n1.jpg,train,2\n2.jpg,train,1\n./b/3.jpg,val,\n")
    listed = tmp_path / "out.txt"
    listed.write_text("# truncated\n2.jpg\n")
    splits = ManifestSource(listed).splits(path)
    assert names_of(splits) == {"train": ["1.jpg"], "val": ["./b/3.jpg"]}
    assert splits["train"].weights.tolist() == [2]
    listed.write_text("2.jpg\n./b/3.jpg\n")
    assert names_of(ManifestSource(listed).splits(path)) == {"train": ["1.jpg"]}


def test_a_list_that_names_none_or_all_is_refused(tmp_path):
    touch(tmp_path, *TRAIN, "val/1.JPEG")
    path = manifest(tmp_path, f"path,split\n{TRAIN[0]},train\n")
    listed = tmp_path / "out.txt"
    for source, root in ((ImageNetSource, tmp_path), (ManifestSource, path)):
        listed.write_text("elsewhere/1.JPEG\n")
        with pytest.raises(SourceError, match=r"no name in .*out\.txt is of an image in"):
            source(exclude_list=listed).splits(root)
        listed.write_text("\n".join([*TRAIN, "val/1.JPEG"]))
        with pytest.raises(SourceError, match=r"out\.txt leaves none of the images in"):
            source(exclude_list=listed).splits(root)


def test_imagenet_says_what_is_missing(tmp_path):
    touch(tmp_path, "train/1.JPEG")
    with pytest.raises(SourceError, match="no class folders"):
        ImageNetSource().splits(tmp_path)
    touch(tmp_path, "train/n1/1.JPEG")
    with pytest.raises(SourceError, match="no folder val/: ImageNetSource wants ROOT/train"):
        ImageNetSource().splits(tmp_path)
    with pytest.raises(SourceError, match="no folder train/"):
        ImageNetSource().splits(tmp_path / "train")
    with pytest.raises(SourceError, match=r"pass --data\.root"):
        ImageNetSource().splits(None)
    with pytest.raises(SourceError, match="max_val is 0"):
        ImageNetSource(max_val=0)
