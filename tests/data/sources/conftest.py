"""Helpers of the sources' tests."""

from pathlib import Path


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names_of(splits):
    return {split: [p.name(i) for i in range(len(p))] for split, p in splits.items()}


def counts(splits):
    return {split: len(images) for split, images in splits.items()}
