import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from lightning_colorize.data.audit import duplicates, search
from lightning_colorize.data.audit.duplicates import find_duplicates
from lightning_colorize.data.audit.features import audit_image, border
from lightning_colorize.data.audit.search import find_near


def cropped(image, left, top, right, bottom):
    width, height = image.size
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    return image.crop([round(edge) for edge in box])


def sepia(image):
    tones = np.asarray(image.convert("L"))[..., None] * np.array([1.351, 1.203, 0.937])
    return Image.fromarray(tones.clip(0, 255).astype(np.uint8))


def gamma(image, exponent):
    return image.point([round(255 * (level / 255) ** exponent) for level in range(256)] * 3)


def half(image):
    return image.resize((image.width // 2, image.height // 2))


TRANSPOSE = Image.Transpose
COPIES = {
    "half": half,
    "mirrored": ImageOps.mirror,
    "flipped": ImageOps.flip,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "gamma": lambda image: gamma(image, 0.6),
    "sepia": sepia,
    "cropped 3 %": lambda image: cropped(image, 0.03, 0.03, 0.03, 0.03),
    "cropped 10 %": lambda image: cropped(image, 0.1, 0.1, 0.1, 0.1),
    "cropped left and below": lambda image: cropped(image, 0.1, 0, 0, 0.1),
    "turned by 2": lambda image: image.rotate(2),
    "turned by 2, inside": lambda image: cropped(image.rotate(2), 0.04, 0.04, 0.04, 0.04),
    "turned by 90": lambda image: image.transpose(TRANSPOSE.ROTATE_90),
    "turned by 180": lambda image: image.transpose(TRANSPOSE.ROTATE_180),
    "turned by 270": lambda image: image.transpose(TRANSPOSE.ROTATE_270),
    "white border": lambda image: ImageOps.expand(image, image.width // 8, "white"),
    "black border": lambda image: ImageOps.expand(image, image.width // 12, "black"),
    "half, cropped 3 %": lambda image: half(cropped(image, 0.03, 0.03, 0.03, 0.03)),
}


def features_of(images, quality=60):
    """Return the features of PIL images, stored as JPEG."""

    def audited(image):
        image.save(file := io.BytesIO(), "JPEG", quality=quality)
        return audit_image(file.getvalue(), Path("image.jpg"))

    return np.stack([audited(image) for image in images])


def groups_of(features):
    none = np.zeros(len(features), dtype=np.uint8)
    return find_duplicates(features, none, none.astype(bool))[0]


def joined(features):
    """Return the pairs of images that show the same."""
    return {
        tuple(sorted((group.representative, copy)))
        for group in groups_of(features)
        for copy in group.copies
    }


@pytest.fixture(scope="module")
def originals(photographs):
    return [Image.fromarray(rgb) for rgb in photographs]


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found(originals, kind):
    pairs = joined(features_of([*originals, *map(COPIES[kind], originals)]))
    copies = {(number, number + len(originals)) for number in range(len(originals))}
    assert len(pairs & copies) >= 7
    assert pairs <= copies


def landscape(seed):
    """Bright above a horizon, dark below, with soft clouds: alike but for the details."""
    random = np.random.default_rng(seed)
    rows = np.linspace(-1, 1, 120)[:, None] - random.uniform(-0.1, 0.1)
    clouds = Image.fromarray(random.integers(0, 256, (12, 16), dtype=np.uint8))
    clouds = np.asarray(clouds.resize((160, 120), Image.Resampling.BICUBIC)) - 128.0
    return Image.fromarray((150 - 60 * np.tanh(4 * rows) + 0.2 * clouds).clip(0, 255).astype("u1"))


def test_landscapes_are_not_joined():
    scenes = [landscape(seed).convert("RGB") for seed in range(30)]
    features = features_of(scenes, quality=90)
    assert joined(features) == set()
    # They are compared: their low frequencies are alike.
    compared, _ = find_near(features, np.arange(30), [np.arange(30)])
    assert len(compared) > 30
    copies = features_of([*scenes, *(cropped(scene, 0.1, 0, 0, 0.1) for scene in scenes)])
    assert len(joined(copies) & {(number, number + 30) for number in range(30)}) > 25


def moon(seed):
    random = np.random.default_rng(seed)
    sky = np.linspace(10, 70, 192)[:, None] + random.normal(0, 2, (192, 256))
    image = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    place = random.uniform(40, 216), random.uniform(30, 160)
    ImageDraw.Draw(image).circle(place, random.uniform(6, 12), fill=230)
    return image


def page(seed):
    letters = np.random.default_rng(seed).choice(list("abcdefghijklmnopqrstuvwxyz     "), (18, 28))
    image = Image.new("L", (200, 260), 243)
    for number, line in enumerate(letters):
        ImageDraw.Draw(image).text((16, 14 + 13 * number), "".join(line), fill=30)
    return image


@pytest.mark.parametrize("scene", [moon, page])
def test_scenes_of_little_structure_are_joined_with_their_copies_only(scene):
    scenes = [scene(seed).convert("RGB") for seed in range(40)]
    copies = [half(ImageOps.mirror(image)) for image in scenes]
    pairs = joined(features_of([*scenes, *copies], quality=90))
    same = {(number, number + 40) for number in range(40)}
    assert len(pairs & same) >= 30
    assert len(pairs - same) <= 2


def test_worker_processes_and_cells_find_the_same(originals, monkeypatch):
    copies = [copied(image) for copied in list(COPIES.values())[:6] for image in originals]
    features = features_of([*originals, *copies])
    every = np.arange(len(features))

    def near():
        pairs, is_near = find_near(features, every, [every[::2], every[1::2]])
        return set(map(tuple, pairs[is_near].tolist()))

    alone = near()
    assert len(alone) > 200
    monkeypatch.setattr(search, "_WORKERS_FROM", 1)
    monkeypatch.setattr(search, "_CHUNK", 10)
    assert near() == alone
    monkeypatch.setattr(search, "_CELL", 10)
    assert len(near() & alone) > 0.95 * len(alone)


def test_a_pair_may_be_alike_in_one_window_only(originals, monkeypatch):
    monkeypatch.setattr(search, "_COSINE", 0.9999)
    features = features_of([originals[0], originals[0]])
    pairs, is_near = find_near(features, np.array([0]), [np.array([1])])
    assert (pairs.tolist(), is_near.tolist()) == ([[0, 1]], [True])


def test_a_film_is_one_group(originals, monkeypatch):
    """Each frame has more near duplicates than candidates."""
    queries = []

    def counting(features, images, others):
        queries.extend(images)
        return find_near(features, images, others)

    monkeypatch.setattr(duplicates, "find_near", counting)
    frames = [originals[0].rotate(angle / 250) for angle in range(120)]
    features = features_of([*frames, originals[1]])
    (film,) = groups_of(features)
    assert sorted(film.members) == list(range(120))
    assert len(queries) < 5 * len(features)


@pytest.mark.parametrize(("color", "frame"), [("white", 20), ("black", 12), ("#777", 30)])
def test_border(originals, color, frame):
    grey = np.asarray(ImageOps.expand(originals[2].convert("L"), (frame, 5, 0, 10), color))
    share = np.array([frame / grey.shape[1], 5 / grey.shape[0], 0, 10 / grey.shape[0]])
    np.testing.assert_allclose(border(grey), share, atol=0.02)


def test_an_image_without_content_has_no_border():
    assert not border(np.full((80, 100), 255, dtype=np.uint8)).any()
