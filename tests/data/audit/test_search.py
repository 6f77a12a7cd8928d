"""Near duplicates by perceptual hashes, among photographs and scenes of little structure."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from lightning_colorize.data.audit.duplicates import find_duplicates
from lightning_colorize.data.audit.features import audit_image


def cropped(image, share):
    across, down = round(share * image.width), round(share * image.height)
    return image.crop((across, down, image.width - across, image.height - down))


def half(image):
    return image.resize((image.width // 2, image.height // 2))


COPIES = {
    "half": half,
    "mirrored": ImageOps.mirror,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "cropped 3 %": lambda image: cropped(image, 0.03),
    "cropped 10 %": lambda image: cropped(image, 0.1),
    "turned by 1": lambda image: image.rotate(1),
    "white border": lambda image: ImageOps.expand(image, image.width // 20, "white"),
    "half, mirrored, cropped 5 %": lambda image: half(cropped(ImageOps.mirror(image), 0.05)),
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
    assert joined(features_of(scenes, quality=90)) == set()


def page(seed):
    letters = np.random.default_rng(seed).choice(list("abcdefghijklmnopqrstuvwxyz     "), (18, 28))
    image = Image.new("L", (200, 260), 243)
    for number, line in enumerate(letters):
        ImageDraw.Draw(image).text((16, 14 + 13 * number), "".join(line), fill=30)
    return image


def test_pages_are_joined_with_their_copies_only():
    scenes = [page(seed).convert("RGB") for seed in range(40)]
    copies = [half(ImageOps.mirror(image)) for image in scenes]
    pairs = joined(features_of([*scenes, *copies], quality=90))
    same = {(number, number + 40) for number in range(40)}
    assert len(pairs & same) >= 30
    assert len(pairs - same) <= 2


def test_a_film_is_one_group(originals):
    frames = [originals[0].rotate(angle / 250) for angle in range(120)]
    (film,) = groups_of(features_of([*frames, originals[1]]))
    assert sorted(film.members) == list(range(120))
