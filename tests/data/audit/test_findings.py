import shutil

import numpy as np
import pytest
from PIL import Image, ImageCms

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.audit import as_text, audit, exclusion_list, findings
from lightning_colorize.data.sources import EmbeddedSource, FolderSource, MixtureSource
from lightning_colorize.data.sources.listing import read_name_list


def save(rgb, path, size=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(rgb)
    (image if size is None else image.resize(size)).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path, photographs):
    """A folder of good and faulty images, all in train."""
    train = tmp_path / "photos" / "train"
    for number in range(3):
        save(photographs[number], train / f"{number}.jpg", quality=95)
    save(photographs[3], train / "tiny.png", size=(100, 40))
    save(np.repeat(photographs[4][..., :1], 3, axis=-1), train / "grey.png")
    whole = save(photographs[5], train / "truncated.jpg").read_bytes()
    (train / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (train / "text.jpg").write_text("no image")
    Image.fromarray(photographs[5]).convert("CMYK").save(train / "ink.jpg")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ink = Image.fromarray(photographs[7]).convert("CMYK")
    ink.save(train / "profiled.jpg", icc_profile=profile)
    return tmp_path / "photos"


def names(result, indices):
    return [result.images.name(int(index)).removeprefix("train/") for index in indices]


def audited(root, **source):
    return audit(FolderSource(**source).splits(root), min_side=64)


def test_faults_are_found(folder):
    result = audited(folder)
    assert sorted(names(result, result.broken)) == ["text.jpg", "truncated.jpg"]
    reasons = {error.path.name: error.reason for error in result.broken.values()}
    assert reasons == {"text.jpg": "not an image", "truncated.jpg": "truncated"}
    assert names(result, result.near_grey) == ["grey.png"]
    assert names(result, result.tiny) == ["tiny.png"]
    assert sorted(names(result, result.cmyk)) == ["ink.jpg", "profiled.jpg"]
    assert names(result, result.cmyk_without_profile) == ["ink.jpg"]
    assert result.groups == []


def test_min_side_is_the_short_side_of_the_upright_image(folder, photographs):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(photographs[6], folder / "train" / "rotated.jpg", size=(63, 128), exif=exif)
    save(photographs[6], folder / "train" / "wide.jpg", size=(1000, 64))
    result = audited(folder)
    assert sorted(names(result, result.tiny)) == ["rotated.jpg", "tiny.png"]
    index = result.tiny[names(result, result.tiny).index("rotated.jpg")]
    assert (result.features["height"][index], result.features["width"][index]) == (63, 128)
    assert audit(FolderSource().splits(folder), 40).tiny.size == 0
    # The size is not that of the reduced decoding.
    save(photographs[6], folder / "train" / "large.jpg", size=(400, 300))
    result = audit(FolderSource().splits(folder), 200)
    assert "large.jpg" not in names(result, result.tiny)
    assert "0.jpg" in names(result, result.tiny)


def test_worker_processes_return_the_same_features(folder, monkeypatch):
    monkeypatch.setattr(findings, "_CHUNK", 2)
    alone = audited(folder)
    monkeypatch.setattr(findings, "_WORKERS_FROM", 1)
    together = audited(folder)
    np.testing.assert_array_equal(alone.features, together.features)
    assert {i: str(e) for i, e in alone.broken.items()} == {
        i: str(e) for i, e in together.broken.items()
    }


def test_reduced_copies_of_large_photographs_are_found(tmp_path, photographs):
    """The first is decoded at an eighth of its size, the second is not reduced."""
    large = save(photographs[2], tmp_path / "train" / "large.jpg", size=(2048, 1536))
    with Image.open(large) as image:
        half = image.resize((160, 120), Image.Resampling.LANCZOS)
    (tmp_path / "val").mkdir()
    half.save(tmp_path / "val" / "half.jpg", quality=70)
    save(photographs[0], tmp_path / "val" / "other.jpg")
    (leak,) = audited(tmp_path).leaks
    assert not leak.exact
    assert len(leak.members) == 2


def test_exclusion_list_holds_each_image_once_and_is_readable(folder, photographs, tmp_path):
    train, test = folder / "train", folder / "test"
    save(photographs[0], test / "#1 \\ \u00e9.jpg", size=(70, 70), quality=70)
    shutil.copy(train / "1.jpg", train / "a\\nother.jpg")
    shutil.copy(train / "truncated.jpg", train / "truncated too.jpg")
    save(np.repeat(photographs[4][..., :1], 3, axis=-1), train / "grey_tiny.png", size=(50, 50))
    result = audited(folder)
    listed = tmp_path / "out.txt"
    listed.write_text(as_text(result, exclusion_list(result)))
    excluded = {
        *("text.jpg", "truncated.jpg", "truncated too.jpg", "tiny.png", "grey_tiny.png"),
        *("ink.jpg", "grey.png", "0.jpg", "a\\nother.jpg"),
    }
    assert read_name_list(listed) == {f"train/{name}" for name in excluded}
    text = listed.read_text()
    assert "# copy of train/1.jpg (train)\ntrain/a\\\\nother.jpg\n" in text
    assert "# near duplicate of test/#1 \\ \u00e9.jpg (test)\ntrain/0.jpg\n" in text
    assert text.count("grey_tiny.png") == 1
    rest = audited(folder, exclude_list=listed)
    assert not exclusion_list(rest)
    assert sorted(names(rest, range(3))) == ["1.jpg", "2.jpg", "profiled.jpg"]


def test_names_of_a_mixture_begin_with_the_folder(tmp_path, photographs):
    save(photographs[0], tmp_path / "a" / "train" / "1.png")
    save(photographs[1], tmp_path / "b" / "val" / "1.png")
    save(photographs[0], tmp_path / "b" / "val" / "2.png")
    folders = {str(tmp_path / "a"): 1.0, str(tmp_path / "b"): 1.0}
    result = audit(MixtureSource(folders).splits(None), 64)
    listed = tmp_path / "out.txt"
    listed.write_text(as_text(result, exclusion_list(result)))
    assert read_name_list(listed) == {"a/train/1.png"}


def test_images_that_are_not_files_are_refused():
    with pytest.raises(UsageError, match="not files"):
        audit(EmbeddedSource(windows=8).splits(None), 64)
