"""Splits the images of containers: tables and archives, which may have splits of their own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightning_colorize.common.text import printable
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.data.sources.base import Root, SourceError, Splits, report
from lightning_colorize.data.sources.listing import listed_names
from lightning_colorize.data.splits import DEFAULT_SHARES, SPLIT_NAMES, split_names, split_of


class Part(NamedTuple):
    """One split of a container.

    `images` returns the image set of some rows of the container, given as names and indices.
    """

    names: list[str]
    images: Callable[[Sequence[str], np.ndarray], ImageSet]


def unique_names(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return each second name, behind the first one if it has occurred before."""
    seen: dict[str, None] = {}
    for place, name in names:
        while name in seen:
            name = f"{place}/{name}"
        seen[name] = None
    return list(seen)


def split_parts(
    parts: Mapping[str, Part],
    shares: Mapping[str, float] | None,
    exclude_list: Path | None,
    root: Root,
    packed: bool = False,
) -> Splits:
    """Return the images of each split.

    With `packed`, names and splits stay as they are. Otherwise a single part is split by a hash of
    the names. Several parts are the splits, and their names begin with the split's; without "val",
    a tenth of "train" becomes the validation split.

    Raises:
        SourceError: If several parts have no known name or are split again with `shares`, or if
            `exclude_list` names other images.
    """
    divided: dict[str, Mapping[str, float]] = {}
    if len(parts) == 1 and not packed:
        divided = dict.fromkeys(parts, shares or DEFAULT_SHARES)
    elif not packed:
        parts = _recognized(parts, root)
        if shares is not None:
            raise SourceError(
                f"{root} is already split, into {', '.join(parts)}: leave out splits (null)"
            )
        if "val" not in parts:
            divided = {"train": {"train": 0.9, "val": 0.1}}
    every = [name for part in parts.values() for name in part.names]
    excluded = listed_names(exclude_list, every, root)
    splits: Splits = {}
    for own, part in parts.items():
        rows = {name: row for row, name in enumerate(part.names) if name not in excluded}
        chosen = split_names(list(rows), divided[own]) if own in divided else {own: list(rows)}
        for split, selected in chosen.items():
            if selected:
                at = np.array([rows[name] for name in selected])
                splits[split] = part.images(selected, at)
    return {split: splits[split] for split in SPLIT_NAMES if split in splits}


def _recognized(parts: Mapping[str, Part], root: Root) -> dict[str, Part]:
    """Return the parts by split, which their names begin with; a message names the others."""
    found: dict[str, Part] = {}
    others: list[str] = []
    for name, part in parts.items():
        split = split_of(name)
        if split is None or split in found:
            others.append(f"{name or 'others'} ({len(part.names):,})")
        else:
            found[split] = part._replace(names=[f"{split}/{name}" for name in part.names])
    listed = printable(", ".join(others))
    if not found:
        raise SourceError(f"{root} has the splits {listed}, none of them train, val or test")
    if others:
        report(f"{root}: images not used: {listed}")
    return found
