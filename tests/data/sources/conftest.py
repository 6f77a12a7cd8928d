"""Helpers of the sources' tests."""

from pathlib import Path


def touch(folder: Path, *names: str) -> Path:
    """Create empty files below a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names_of(splits):
    """Image names of each split."""
    return {split: [p.name(i) for i in range(len(p))] for split, p in splits.items()}


def counts(splits):
    """Number of images of each split."""
    return {split: len(images) for split, images in splits.items()}
