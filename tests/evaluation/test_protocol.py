import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import resize
from torchvision import transforms
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.evaluation.protocol import Protocol, ProtocolImages, read_protocol


def _protocol(**settings):
    return Protocol(**{"name": "test", "size": 32, "shape": "crop"} | settings)


@pytest.fixture
def folder(tmp_path):
    for name, color in {"a": (200, 30, 30), "b": (30, 200, 30), "c": (30, 30, 200)}.items():
        Image.new("RGB", (60, 40), color).save(tmp_path / f"{name}.png")
    return tmp_path


def _digest(folder, names, **settings):
    images = ProtocolImages(_protocol(**settings), FileImages(folder, names))
    assert len(list(images)) == len(names)
    return images.measured().sha256


def test_an_extremely_long_image_is_cropped_before_it_is_resized(monkeypatch):
    sizes = []
    monkeypatch.setattr(TF, "resize", lambda rgb, *_, **__: sizes.append(rgb.shape) or rgb)
    _protocol().prepare(torch.zeros(3, 2, 50_000, dtype=torch.uint8))
    assert sizes == [(3, 2, 200)]


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic", "lanczos"])
def test_a_crop_keeps_shapes_and_a_stretch_keeps_the_whole_image(resampling):
    rgb = torch.zeros(3, 40, 80, dtype=torch.uint8)
    rgb[0, :, :20] = 255  # red on the left quarter
    crop = _protocol(resampling=resampling).prepare(rgb)
    stretch = _protocol(shape="stretch", resampling=resampling).prepare(rgb)
    assert crop.shape == stretch.shape == (3, 32, 32)
    assert crop.dtype == stretch.dtype == torch.uint8
    assert crop[0, :, 3:].max() == 0
    assert stretch[0, :, :6].min() > 240
    native = _protocol(size=None, shape="native", resampling="none")
    assert torch.equal(native.prepare(rgb), rgb)


def _photograph(height, width):
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (3, height // 3, width // 3), dtype=np.uint8)
    image = Image.fromarray(coarse.transpose(1, 2, 0)).resize((width, height))
    return image, torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("shape", [(90, 121), (130, 83)], ids=str)
def test_a_square_is_as_in_the_code_of_CT2(shape):
    """segm/data/coco.py, with Pillow."""
    image, rgb = _photograph(*shape)
    steps = [transforms.CenterCrop(min(shape)), transforms.Resize(32)]
    expected = np.array(transforms.Compose(steps)(image)).transpose(2, 0, 1).astype(int)
    actual = _protocol(shape="square", resampling="bilinear").prepare(rgb).numpy()
    assert np.abs(actual - expected).max() <= 1
    cropped = _protocol(resampling="bilinear").prepare(rgb).numpy()
    assert np.abs(cropped - expected).mean() > 0.2  # resized first: half a pixel apart


def test_bilinear_without_antialias_is_what_the_code_of_DDColor_does():
    """cv2.resize in fp32, which equals scikit-image's without smoothing."""
    _, rgb = _photograph(90, 121)
    settings = {"shape": "stretch", "resampling": "bilinear", "antialias": False}
    order = {"order": 1, "mode": "edge", "anti_aliasing": False, "preserve_range": True}
    expected = resize(rgb.numpy().transpose(1, 2, 0), (32, 32), **order).transpose(2, 0, 1)
    assert np.abs(_protocol(**settings).prepare(rgb).numpy() - expected).max() <= 0.501
    smoothed = _protocol(**settings | {"antialias": True}).prepare(rgb).numpy()
    assert np.abs(smoothed - expected).mean() > 5


def test_the_digest_changes_with_any_image_and_setting_but_not_with_names(folder):
    before = _digest(folder, ["a.png", "b.png", "c.png"])
    assert _digest(folder, ["c.png", "a.png", "b.png"]) == before
    assert _digest(folder, ["a.png", "b.png"]) != before
    assert _digest(folder, ["a.png", "b.png", "c.png"], resampling="bilinear") != before
    assert _digest(folder, ["a.png", "b.png", "c.png"], hint_points=3) != before
    (folder / "a.png").rename(folder / "z.png")
    assert _digest(folder, ["z.png", "b.png", "c.png"]) == before
    Image.new("RGB", (60, 40), (200, 30, 31)).save(folder / "z.png")
    assert _digest(folder, ["z.png", "b.png", "c.png"]) != before
    # An image that cannot be read is left out.
    (folder / "z.png").write_bytes(b"no image")
    images = ProtocolImages(_protocol(), FileImages(folder, ["z.png", "b.png", "c.png"]))
    assert [name for name, _ in images] == ["b.png", "c.png"]
    assert [str(error.path) for error in images.broken] == ["z.png"]
    assert images.measured().sha256 == _digest(folder, ["b.png", "c.png"])


def test_files_are_found_in_any_folder_and_missing_ones_are_named(folder):
    (folder / "deep").mkdir()
    for number in (1, 2):
        Image.new("RGB", (40, 40)).save(folder / f"deep/val_{number:02d}.png")
    every = FileImages(folder, ["a.png"])
    chosen = _protocol(files="val_{:02d}.png", count=2).choose(folder, every)
    assert [chosen.name(i) for i in range(2)] == ["deep/val_01.png", "deep/val_02.png"]
    with pytest.raises(UsageError, match=r"needs val_03.png in .*; 1 of 3 images are missing"):
        _protocol(files="val_{:02d}.png", count=3).choose(folder, every)
    with pytest.raises(UsageError, match=r"has 2 images; .* has 1"):
        _protocol(count=2).choose(folder, every)
    Image.new("RGB", (40, 40)).save(folder / "val_01.png")
    with pytest.raises(UsageError, match=r"has deep/val_01.png and val_01.png; keep one"):
        _protocol(files="val_{:02d}.png", count=1).choose(folder, every)


@pytest.mark.parametrize("name", ["native", "crop256", "stretch256", "val5k-crop256", "hints10"])
def test_the_digests_of_these_protocols_stay_valid(name):
    """Published results contain them: settings that came later count only if they are used."""
    names = {"size", "shape", "resampling", "files", "count", "colorfulness"}
    names |= {"hint_points"} if name == "hints10" else set()
    assert read_protocol(name).settings().keys() == names


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("val50k", r"needs ILSVRC2012_val_00000001.JPEG in .*; 50,000 of 50,000 images are miss"),
        ("ade20k-stretch256", r"needs ADE_val_00000001.jpg in .*; 2,000 of 2,000 images are miss"),
        ("coco-stuff-stretch256", r"has 5,000 images; .* has 1$"),
    ],
)
def test_a_published_protocol_refuses_other_images_with_its_count(folder, name, reason):
    with pytest.raises(UsageError, match=reason):
        read_protocol(name).choose(folder, FileImages(folder, ["a.png"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("size: 8\nshape: crop", "size: "),
        ("size: 64\nshape: crop\nfilter: box", "filter: Extra"),
        ("size: null\nshape: crop", "shape native needs size null"),
        ("size: 64\nshape: crop\nfiles: a", "files needs count"),
        ("size: 64\nshape: crop\nresampling: lanczos\nantialias: false", "antialias false needs"),
        ("- 1", "not a mapping; it has keys such as `size:`"),
        ("size: 64\nshape: crop\nname: x", "name is not a key"),
        ("size: 64\nshape: crop\n1: 2", "1: Keys should be strings"),
        ("size: 64\nshape: crop\ncount: 2\nfiles: a{}_{}", "files needs one place"),
        ("size: 64\nshape: crop\ncolorfulness: .nan", "colorfulness: "),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_protocol(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"unknown protocol crop25; .* crop256, hints10"):
        read_protocol("crop25")
