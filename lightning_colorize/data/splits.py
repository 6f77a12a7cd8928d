"""Splits by a hash of the file name: the same on every machine and in every run.

The split of an image depends on its own name only, so files that are added later do not move others
from training to validation. Python's `hash` and the order of a directory listing play no role.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b

import numpy as np

from lightning_colorize.common.errors import UsageError

SPLIT_NAMES = ("train", "val", "test")

DEFAULT_SHARES: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}

_ALIASES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_ALIASES |= {name: name for name in SPLIT_NAMES}


def split_of(word: str) -> str | None:
    """Return the split that a folder name or a manifest cell denotes, or None.

    `training`, `testing`, `valid` and `validation` are aliases. Case does not matter.
    """
    return _ALIASES.get(word.strip().lower())


def resembles_split(word: str) -> bool:
    """Return whether a folder's name contains a split's: `train2017`, `photos_test`, `dev`."""
    words = re.findall("[a-z]+", word.lower())
    return any(each.removesuffix("set") in {*_ALIASES, "dev", "eval"} for each in words)


def category_finder(names: Iterable[str]) -> Callable[[str], str]:
    """Return a function from an image's name to its category, its first folder; "." for none.

    If all names are below folders of splits, it is the folder below these. In a folder that is not
    split, test/ is a category.
    """
    below = all("/" in name and split_of(name.partition("/")[0]) for name in names)

    def category(name: str) -> str:
        folders = name.split("/")[below:-1]
        return folders[0] if folders else "."

    return category


def name_hashes(names: Sequence[str], salt: str = "") -> np.ndarray:
    """Return a hash in [0, 1) of each name, (N,), float64; different salts are independent."""
    key = salt.encode()
    # NFC: macOS may return an accented name in its decomposed form.
    digests = b"".join(
        blake2b(
            unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape"),
            digest_size=8,
            key=key,
        ).digest()
        for name in names
    )
    # float64 holds 53 bits exactly; more would round some hashes up to 1.0.
    hashes: np.ndarray = (np.frombuffer(digests, dtype=">u8") >> np.uint64(11)) / 2.0**53
    return hashes


def split_names(names: Sequence[str], splits: Mapping[str, float]) -> dict[str, list[str]]:
    """Divide names among splits, by shares or by counts.

    Numbers with a sum of at most 1 are shares. Each image is assigned by its own hash, so sizes are
    only near the shares, and a rest stays unused. Larger integers are counts, taken exactly, in the
    order of the hash. A missing split is empty, and empty ones are not returned.

    Names are relative, with forward slashes, in a fixed order, in which they are returned.
    """
    unknown = [split for split in splits if split not in SPLIT_NAMES]
    if unknown:
        raise UsageError(f"splits: '{unknown[0]}' is none of {', '.join(SPLIT_NAMES)}")
    total = sum(splits.values())
    if total <= 0 or min(splits.values()) < 0:
        raise UsageError(f"splits: {dict(splits)} must hold shares or counts of at least 0")
    wanted = {split: splits[split] for split in SPLIT_NAMES if splits.get(split)}
    if total <= 1 + 1e-6:
        chosen = _by_share(name_hashes(names), wanted)
    elif all(float(number).is_integer() for number in wanted.values()):
        chosen = _by_count(
            name_hashes(names), {split: int(count) for split, count in wanted.items()}
        )
    else:
        raise UsageError(
            f"splits: {dict(splits)} is neither shares (they add up to {total:g}, more than 1) "
            "nor counts (whole numbers)"
        )
    return {split: [names[i] for i in indices] for split, indices in chosen.items() if len(indices)}


def _by_share(hashes: np.ndarray, shares: Mapping[str, float]) -> dict[str, np.ndarray]:
    bounds = np.cumsum([0.0, *shares.values()])
    # 0.8 + 0.1 + 0.1 is a little below 1 but must include all images.
    if abs(bounds[-1] - 1) < 1e-6:
        bounds[-1] = 1.0
    chosen = {
        split: np.flatnonzero((hashes >= low) & (hashes < high))
        for split, low, high in zip(shares, bounds, bounds[1:], strict=False)
    }
    # In a small folder the hash may leave a split empty. It then receives the image next to its
    # border from the largest split. Training comes first: a single image is for training.
    for split, low in zip(shares, bounds, strict=False):
        donor = max(chosen, key=lambda name: len(chosen[name]))
        spare = len(chosen[donor]) - (0 if split == "train" else 1)
        if len(chosen[split]) == 0 and spare > 0:
            nearest = np.argmin(np.abs(hashes[chosen[donor]] - low))
            chosen[split] = chosen[donor][[nearest]]
            chosen[donor] = np.delete(chosen[donor], nearest)
    return chosen


def _by_count(hashes: np.ndarray, counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    total = sum(counts.values())
    if total > len(hashes):
        listed = ", ".join(f"{split} {count}" for split, count in counts.items())
        raise UsageError(f"splits: {total} images are asked for ({listed}), {len(hashes)} found")
    order = np.argsort(hashes, kind="stable")
    bounds = np.cumsum([0, *counts.values()])
    return {
        split: np.sort(order[low:high])
        for split, low, high in zip(counts, bounds, bounds[1:], strict=False)
    }


def random_subset(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Return a random subset of the names in their order, or all if there are fewer.

    A hash keyed with the seed selects them. The subset is the same in every run, and a smaller
    subset is part of a larger one of the same seed, as learning curves need.
    """
    if count >= len(names):
        return list(names)
    order = np.argsort(name_hashes(names, salt=f"subset {seed}"), kind="stable")
    return [names[i] for i in np.sort(order[:count])]
