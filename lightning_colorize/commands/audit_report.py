"""The findings of an audit as a table and as JSON."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_colorize.common.provenance import versions
from lightning_colorize.common.text import printable
from lightning_colorize.evaluation import print_plain

if TYPE_CHECKING:
    from lightning_colorize.data.audit import Audit, DuplicateGroup

_EXAMPLES = 2
_LEAKS = 10
_EDGES = np.arange(0, 65, 5)  # histogram bins; the last one is open-ended
_WIDEST = 40  # characters of a bar


def print_report(found: "Audit", seconds: float, excluded: int, listed_in: Path | None) -> None:
    """Print counts with examples, leaks, and a summary."""
    console = Console()
    total = len(found.features)
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("")
    table.add_column("images", justify="right")
    table.add_column("share", justify="right")
    table.add_column("for example", overflow="fold")
    for kind, examples in _rows(found).items():
        shown = ", ".join(examples[:_EXAMPLES])
        table.add_row(kind, f"{len(examples):,}", f"{len(examples) / total:.2%}", Text(shown))
    print_plain(console, table)
    if found.min_colorfulness is not None:
        print_plain(console, _histogram(found))
    lines = [*_leak_lines(found), _conclusion(found, seconds, excluded, listed_in)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _histogram(found: "Audit") -> Table:
    """Return the number of images by colorfulness."""
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("colorfulness", "images", "share"):
        table.add_column(name, justify="right")
    table.add_column("")
    counts = _counts(found)
    for start, count in zip(_EDGES, counts, strict=True):
        name = f"{start} to {start + 5}" if start < _EDGES[-1] else f"{start} or more"
        bar = "#" * round(_WIDEST * count / max(*counts, 1))
        table.add_row(name, f"{count:,}", f"{count / max(sum(counts), 1):.1%}", bar)
    return table


def _counts(found: "Audit") -> list[int]:
    """Return the number of readable images from each edge to the next."""
    values = found.features["colorfulness"][found.features["bytes"] > 0]
    counts: list[int] = np.histogram(values, [*_EDGES, np.inf])[0].tolist()
    return counts


def _rows(found: "Audit") -> dict[str, Sequence[str]]:
    """Return the images of each kind of fault, as text."""
    features, name = found.features, partial(_shown, found)
    copies: list[str] = []
    near: list[str] = []
    for group in found.groups:
        seen = {features["digest"][group.representative]}
        for index in group.copies:
            same = features["digest"][index] in seen
            seen.add(features["digest"][index])
            (copies if same else near).append(f"{name(index)} of {name(group.representative)}")
    pale = {}
    if found.min_colorfulness is not None:
        pale = {f"pale (below {found.min_colorfulness:g})": [*map(name, found.pale)]}
    return {
        "broken": [
            f"{name(index)} ({printable(error.reason)})" for index, error in found.broken.items()
        ],
        "damaged JPEG": [name(index) for index in found.damaged],
        "near-grey": [name(index) for index in found.near_grey],
        **pale,
        f"tiny (below {found.min_side} px)": [name(index) for index in found.tiny],
        "CMYK": [name(index) for index in found.cmyk],
        "copies": copies,
        "near duplicates": near,
    }


def _leak_lines(found: "Audit") -> list[str]:
    if not found.leaks:
        return []
    between = Counter(" and ".join(_splits(found, group)) for group in found.leaks)
    counts = ", ".join(f"{count:,} {names}" for names, count in between.most_common())
    lines = [f"In more than one split: {len(found.leaks):,} ({counts})"]
    for group in found.leaks[:_LEAKS]:
        how = "=" if group.exact else "~"
        lines.append("  " + f" {how} ".join(_shown(found, index) for index in group.members))
    if len(found.leaks) > _LEAKS:
        lines.append(f"  and {len(found.leaks) - _LEAKS:,} more; --json FILE lists all")
    return lines


def _conclusion(found: "Audit", seconds: float, excluded: int, listed_in: Path | None) -> str:
    total = len(found.features)
    by_split = ", ".join(f"{len(part):,} {name}" for name, part in found.parts.items())
    line = f"{total:,} images ({by_split}) in {seconds:.1f} s, {total / seconds:,.0f}/s; "
    if not excluded:
        return line + "nothing to leave out"
    if listed_in is None:
        return line + f"{excluded:,} to leave out: --exclude-to FILE lists them"
    return (
        line + f"{excluded:,} to leave out, listed in {listed_in} (for the source's exclude_list)"
    )


def as_json(found: "Audit", seconds: float, excluded: Mapping[int, str]) -> dict[str, Any]:
    """Return the findings for JSON."""
    features = found.features

    def named(indices: Iterable[int], **more: str) -> list[dict[str, Any]]:
        return [
            {
                "name": found.images.name(int(index)),
                "split": found.split(index),
                **{key: features[field][index].item() for key, field in more.items()},
            }
            for index in indices
        ]

    broken = named(found.broken)
    for entry, error in zip(broken, found.broken.values(), strict=True):
        entry["reason"] = error.reason
    return {
        "images": {name: len(part) for name, part in found.parts.items()},
        "seconds": seconds,
        "images_per_second": len(features) / seconds,
        "min_side": found.min_side,
        "min_colorfulness": found.min_colorfulness,
        "colorfulness": dict(zip(map(str, _EDGES), _counts(found), strict=True)),
        "broken": broken,
        "damaged": named(found.damaged),
        "near_grey": named(found.near_grey, chroma="chroma"),
        "pale": named(found.pale, colorfulness="colorfulness"),
        "tiny": named(found.tiny, width="width", height="height"),
        "cmyk": named(found.cmyk, has_profile="has_profile"),
        "duplicates": [
            {
                "exact": group.exact,
                "splits": _splits(found, group),
                "images": named(group.members),  # the representative first
            }
            for group in found.groups
        ],
        "leaks": len(found.leaks),
        # The images of a pair belong to different groups above, or to none.
        "leaks_across_groups": [named(pair.members) for pair in found.pairs],
        "excluded": [
            {"name": found.images.name(index), "reason": reason}
            for index, reason in excluded.items()
        ],
        "versions": versions(),
    }


def _splits(found: "Audit", group: "DuplicateGroup") -> list[str]:
    """Return the split names of a group or pair, in the order train, val, test."""
    own = set(group.splits.tolist())
    return [name for index, name in enumerate(found.parts) if index in own]


def _shown(found: "Audit", index: int) -> str:
    """Return an image's name and split, for a terminal."""
    name = printable(found.images.name(int(index)))
    split = found.split(index)
    return name if name.startswith(f"{split}/") else f"{name} ({split})"
