"""Which altered copies an audit finds, which pairs of photographs it joins, and what it costs.

    python benchmarks/audit.py FOLDER [FOLDER ...] [--copies 500] [--json FILE]

Audits the photographs below FOLDER: all pairs are listed, to be looked at. Then, for each kind of
copy, some photographs as training images beside their copies as test images. Several folders with
splits are audited as one.
"""

import argparse
import io
import math
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from common import command_of
from PIL import Image, ImageEnhance, ImageOps

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.data.audit import audit
from lightning_colorize.data.sources import FolderSource

RESULT = Path(__file__).parent / "results" / "audit.json"


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Cut shares of the width and height off."""
    width, height = image.size
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    return image.crop(tuple(round(edge) for edge in box))  # type: ignore[arg-type]


def crop_all(image: Image.Image, share: float) -> Image.Image:
    """Cut a share off each side."""
    return crop(image, share, share, share, share)


def turn_inside(image: Image.Image, degrees: float) -> Image.Image:
    """Turn and crop to the inside."""
    width, height = image.size
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    left = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
    return crop_all(image.rotate(degrees, Image.Resampling.BICUBIC), (1 - left) / 2)


def half(image: Image.Image) -> Image.Image:
    """Reduce to half the size."""
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)))


def gamma(image: Image.Image, exponent: float) -> Image.Image:
    """Raise the values to a power."""
    return image.point([round(255 * (level / 255) ** exponent) for level in range(256)] * 3)


def sepia(image: Image.Image) -> Image.Image:
    """Tone the grey image."""
    tones = np.asarray(image.convert("L"))[..., None] * np.array([1.351, 1.203, 0.937])
    return Image.fromarray(tones.clip(0, 255).astype(np.uint8))


def frame(image: Image.Image, share: float, color: str) -> Image.Image:
    """Add a border, as a share of the short side."""
    return ImageOps.expand(image, round(share * min(image.size)), color)


TURN = Image.Transpose
# The alteration and the quality of the copy's JPEG.
COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "half the size": (half, 70),
    "JPEG quality 30": (lambda image: image, 30),
    "mirrored": (ImageOps.mirror, 85),
    "flipped": (ImageOps.flip, 85),
    "grey": (lambda image: image.convert("L").convert("RGB"), 85),
    "contrast 0.6": (lambda image: ImageEnhance.Contrast(image).enhance(0.6), 85),
    "contrast 1.4": (lambda image: ImageEnhance.Contrast(image).enhance(1.4), 85),
    "brightness 1.25": (lambda image: ImageEnhance.Brightness(image).enhance(1.25), 85),
    "gamma 0.6": (lambda image: gamma(image, 0.6), 85),
    "gamma 1.7": (lambda image: gamma(image, 1.7), 85),
    "sepia": (sepia, 85),
    "cropped by 3 % a side": (lambda image: crop_all(image, 0.03), 85),
    "cropped by 10 % a side": (lambda image: crop_all(image, 0.1), 85),
    "cropped by 10 % left": (lambda image: crop(image, 0.1, 0, 0, 0), 85),
    "cropped by 10 % left and below": (lambda image: crop(image, 0.1, 0, 0, 0.1), 85),
    "cropped by 20 % above": (lambda image: crop(image, 0, 0.2, 0, 0), 85),
    "rotated by 2 degrees, black corners": (lambda image: image.rotate(2), 85),
    "rotated by 2 degrees, cropped inside": (lambda image: turn_inside(image, 2), 85),
    "rotated by 5 degrees, cropped inside": (lambda image: turn_inside(image, 5), 85),
    "rotated by 90 degrees": (lambda image: image.transpose(TURN.ROTATE_90), 85),
    "rotated by 180 degrees": (lambda image: image.transpose(TURN.ROTATE_180), 85),
    "rotated by 270 degrees": (lambda image: image.transpose(TURN.ROTATE_270), 85),
    "white border of 5 %": (lambda image: frame(image, 0.05, "white"), 85),
    "white border of 15 %": (lambda image: frame(image, 0.15, "white"), 85),
    "black border of 10 %": (lambda image: frame(image, 0.1, "black"), 85),
    "half, cropped by 3 % a side": (lambda image: half(crop_all(image, 0.03)), 50),
    "mirrored, sepia, cropped by 10 % a side": (
        lambda image: crop_all(sepia(ImageOps.mirror(image)), 0.1),
        85,
    ),
}


def write_copies(photos: list[Path], folder: Path, kind: str | None) -> None:
    """Link the photographs as training images, and write their copies as test images."""
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
    for number, photo in enumerate(photos):
        name = f"{number:07}.jpg"
        os.symlink(photo.resolve(), folder / "train" / name)
        data = photo.read_bytes()
        if kind is not None:
            alter, quality = COPIES[kind]
            with Image.open(photo) as image:
                upright = ImageOps.exif_transpose(image.convert("RGB"))
            file = io.BytesIO()
            alter(upright).save(file, "JPEG", quality=quality)
            data = file.getvalue()
        (folder / "test" / name).write_bytes(data)


def found_copies(photos: list[Path], kind: str | None) -> int:
    """Audit photographs beside their copies; returns how many are found."""
    with tempfile.TemporaryDirectory() as folder:
        write_copies(photos, Path(folder), kind)
        joined, _ = groups(Path(folder))
    names = [Counter(Path(name).stem for name in group) for group in joined]
    return len({name for group in names for name, count in group.items() if count > 1})


def groups(folder: Path) -> tuple[list[list[str]], dict[str, float]]:
    """Audit; returns the names of images that are said to show the same, and what it cost."""
    start = time.perf_counter()
    found = audit(FolderSource().splits(folder), min_side=1)
    joined = [
        [found.images.name(index) for index in group.members]
        for group in (*found.groups, *found.pairs)
    ]
    seconds = time.perf_counter() - start
    return joined, {
        "images": len(found.images),
        "seconds": seconds,
        "peak_memory": peak_memory(),
    }


def peak_memory() -> int:
    """Bytes of the largest of this process and those that it has waited for."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in whose) * 1024


def join(folders: list[Path], target: Path) -> Path:
    """Link the files of several folders with splits into one; return it, or the only folder."""
    if len(folders) == 1:
        return folders[0]
    for folder in folders:
        for split in filter(Path.is_dir, folder.iterdir()):
            (target / split.name).mkdir(exist_ok=True)
            for file in filter(Path.is_file, split.rglob("*")):
                (target / split.name / file.name).symlink_to(file.resolve())
    return target


def is_image(path: Path) -> bool:
    """Return whether a file can be read."""
    try:
        with Image.open(path) as image:
            image.load()
    except OSError:
        return False
    return True


def main(argv: list[str] | None = None) -> None:
    """Audit, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folders",
        metavar="FOLDER",
        type=Path,
        nargs="+",
        help="photographs, also below sub-folders",
    )
    parser.add_argument("--copies", type=int, default=500, help="copies of each kind")
    parser.add_argument("--json", type=Path, default=RESULT, help="(default: benchmarks/results)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = join(args.folders, Path(temporary))
        joined, cost = groups(folder)
        photos = sorted(path for path in folder.rglob("*") if path.is_file())
        random.Random(0).shuffle(photos)
        photos = list(islice(filter(is_image, photos), args.copies))
        found = {"the same bytes": found_copies(photos, None)}
        for kind in COPIES:
            found[kind] = found_copies(photos, kind)
            print(f"{kind}: {found[kind]} of {len(photos)}", flush=True)
    row = {"copies": len(photos), "found": found, **cost, "groups": joined}
    write_report(args.json, command_of("audit", argv), row)


if __name__ == "__main__":
    main()
