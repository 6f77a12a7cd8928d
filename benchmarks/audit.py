"""What an audit finds of copies that were put there, and which pairs it joins besides.

    python benchmarks/audit.py FOLDER [--json FILE]

Of every photograph below FOLDER, two copies are made in a temporary folder: one of its bytes, and
one of half the size as JPEG of quality 70; the originals are training images, the copies
validation and test. Pairs of different originals are listed: they are false unless FOLDER itself
holds an image twice.
"""

import argparse
import io
import json
import os
import resource
import shlex
import shutil
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

from PIL import Image, ImageOps

from lightning_colorize.benchmarking import write_report
from lightning_colorize.data.audit import audit
from lightning_colorize.data.sources import FolderSource

RESULT = Path(__file__).parent / "results" / "audit.json"
SPLIT_OF = {"bytes": "val", "half": "test"}
NAME = "{:07}"

Pair = frozenset[tuple[str, str]]
"""Two images, each by its split and its name without suffix."""


def add_copies(photos: list[Path], folder: Path) -> dict[int, Path]:
    """Link the photographs and write their copies; returns the photograph of each number.

    Those that cannot be read are left out: there would be no smaller copy.
    """
    for split in ("train", *SPLIT_OF.values()):
        (folder / split).mkdir(parents=True)
    originals = {}
    for number, photo in enumerate(photos):
        name = f"{NAME.format(number)}.jpg"
        try:
            with Image.open(photo) as image:
                upright = ImageOps.exif_transpose(image.convert("RGB"))
            size = [max(1, length // 2) for length in upright.size]
            half = io.BytesIO()
            upright.resize(size, Image.Resampling.BICUBIC).save(half, "JPEG", quality=70)
        except OSError:
            continue
        os.symlink(photo.resolve(), folder / "train" / name)
        shutil.copyfile(photo, folder / SPLIT_OF["bytes"] / name)
        (folder / SPLIT_OF["half"] / name).write_bytes(half.getvalue())
        originals[number] = photo
    return originals


def joined(folder: Path) -> tuple[set[Pair], dict[str, float]]:
    """Audit; returns the pairs that are said to show the same, and what it cost."""
    start = time.perf_counter()
    found = audit(FolderSource().splits(folder), min_side=1)
    pairs = {
        frozenset((found.split(index), Path(found.images.name(index)).stem) for index in pair)
        for group in found.groups
        for pair in combinations(group.members.tolist(), 2)
    }
    seconds = time.perf_counter() - start
    cost = {"images": len(found.images), "seconds": seconds, "peak_memory": peak_memory()}
    return pairs, cost


def peak_memory() -> int:
    """Bytes of the largest of this process and those that it has waited for."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in whose) * 1024


def main(argv: list[str] | None = None) -> None:
    """Audit, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="photographs, also below sub-folders")
    parser.add_argument("--json", type=Path, default=RESULT, help="(default: benchmarks/results)")
    args = parser.parse_args(argv)
    photos = sorted(path for path in args.folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as folder:
        originals = add_copies(photos, Path(folder))
        pairs, cost = joined(Path(folder))
    found = {
        kind: sum(
            frozenset({("train", name), (split, name)}) in pairs
            for name in map(NAME.format, originals)
        )
        for kind, split in SPLIT_OF.items()
    }
    # Each pair of originals once, though their copies are joined with it.
    different = {frozenset(name for _, name in pair) for pair in pairs}
    others = sorted(
        sorted(originals[int(name)].name for name in pair) for pair in different if len(pair) > 1
    )
    row = {"originals": len(originals), "found": found, **cost, "of_different_originals": others}
    print(json.dumps(row, indent=2))
    words = ["python", "benchmarks/audit.py", "photos/", *argv[1:]]
    write_report(args.json, shlex.join(words), row)


if __name__ == "__main__":
    main()
