import shutil

import numpy as np
import pytest
from PIL import Image, ImageCms

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.audit import audit, exclusion_list, findings
from lightning_colorize.data.sources import EmbeddedSource, FolderSource


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
    whole = save(photographs[6], train / "damaged.jpg", quality=95).read_bytes()
    half = len(whole) // 2
    (train / "damaged.jpg").write_bytes(whole[:half] + b"\1\2\3" * 30 + whole[half:])
    (train / "text.jpg").write_text("no image")
    Image.fromarray(photographs[5]).convert("CMYK").save(train / "ink.jpg")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ink = Image.fromarray(photographs[7]).convert("CMYK")
    ink.save(train / "profiled.jpg", icc_profile=profile)
    return tmp_path / "photos"


def names(result, indices):
    return [result.images.name(int(index)).removeprefix("train/") for index in indices]


def audited(root, min_side=64):
    return audit(FolderSource().splits(root), min_side)


def test_faults_are_found_and_excluded_once(folder, photographs):
    train = folder / "train"
    save(photographs[0], folder / "test" / "half.jpg", size=(70, 70), quality=70)
    shutil.copy(train / "1.jpg", train / "copy.jpg")
    save(np.repeat(photographs[4][..., :1], 3, axis=-1), train / "grey_tiny.png", size=(50, 50))
    result = audited(folder)
    assert {*names(result, result.faults["damaged"])} == {"damaged.jpg"}
    assert {*names(result, result.faults["near_grey"])} == {"grey.png", "grey_tiny.png"}
    assert {*names(result, result.faults["tiny"])} == {"tiny.png", "grey_tiny.png"}
    assert {*names(result, result.faults["cmyk"])} == {"ink.jpg", "profiled.jpg"}
    excluded = exclusion_list(result)
    assert dict(zip(names(result, excluded), excluded.values(), strict=True)) == {
        "text.jpg": "broken: not an image",
        "truncated.jpg": "broken: truncated: the file is incomplete, copy it again",
        "tiny.png": "tiny: 100 x 40",
        "grey_tiny.png": "tiny: 50 x 50",
        "ink.jpg": "CMYK without a profile: its colors are undefined",
        "grey.png": "near-grey: 95 % of it below chroma 0.0",
        "copy.jpg": "copy of train/1.jpg (train)",
        "0.jpg": "near duplicate of test/half.jpg (test)",
    }


def test_min_side_is_the_short_side_of_the_upright_image(folder, photographs):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(photographs[6], folder / "train" / "rotated.jpg", size=(63, 128), exif=exif)
    save(photographs[6], folder / "train" / "wide.jpg", size=(1000, 64))
    result = audited(folder)
    assert sorted(names(result, result.faults["tiny"])) == ["rotated.jpg", "tiny.png"]
    assert "tiny: 128 x 63" in exclusion_list(result).values()
    assert audited(folder, 40).faults["tiny"].size == 0
    # The size is not that of the reduced decoding.
    save(photographs[6], folder / "train" / "large.jpg", size=(400, 300))
    result = audited(folder, 200)
    assert "large.jpg" not in names(result, result.faults["tiny"])
    assert "0.jpg" in names(result, result.faults["tiny"])


def test_worker_processes_return_the_same_features(folder, monkeypatch):
    monkeypatch.setattr(findings, "_CHUNK", 2)
    alone = audited(folder)
    monkeypatch.setattr(findings, "_WORKERS_FROM", 1)
    together = audited(folder)
    np.testing.assert_array_equal(alone.features, together.features)
    assert str(alone.broken) == str(together.broken)


def test_images_that_are_not_files_are_refused():
    with pytest.raises(UsageError, match="not files"):
        audit(EmbeddedSource(windows=8).splits(None), 64)
