"""The findings of an audit as a table and as JSON."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from lightning_colorize.common.provenance import versions
from lightning_colorize.common.text import printable
from lightning_colorize.evaluation.table import Column, Table, make_row, print_plain

if TYPE_CHECKING:
    from lightning_colorize.data.audit import Audit

_EXAMPLES = 2
_LEAKS = 10
_EDGES = np.arange(0, 65, 5)  # histogram bins; the last one is open-ended


def print_report(found: "Audit", seconds: float, excluded: int, listed_in: Path | None) -> None:
    """Print counts with examples, leaks, and a summary."""
    console = Console()
    total = len(found.features)
    rows = [
        make_row(
            kind,
            f"{len(examples):,}",
            f"{len(examples) / total:.2%}",
            ", ".join(examples[:_EXAMPLES]),
        )
        for kind, examples in _rows(found).items()
    ]
    columns = [Column("", text=True), Column("images"), Column("share")]
    print_plain(Table("Faults", [*columns, Column("for example", text=True)], rows))
    if found.min_colorfulness is not None:
        rows = [make_row(f"from {start}", f"{n:,}") for start, n in _histogram(found).items()]
        columns = [Column("colorfulness", text=True), Column("images")]
        print_plain(Table("Colorfulness", columns, rows))
    lines = []
    if found.leaks:
        lines = [f"In more than one split: {len(found.leaks):,}"]
        for group in found.leaks[:_LEAKS]:
            how = " = " if group.exact else " ~ "
            lines.append("  " + how.join(_shown(found, index) for index in group.members))
        if len(found.leaks) > _LEAKS:
            lines.append(f"  and {len(found.leaks) - _LEAKS:,} more; --json FILE lists all")
    by_split = ", ".join(f"{len(part):,} {name}" for name, part in found.parts.items())
    where = ": --exclude-to FILE lists them" if listed_in is None else f", listed in {listed_in}"
    kept = "" if listed_in is None else f", so {listed_in} is not written"
    left_out = f"{excluded:,} to leave out{where}" if excluded else f"nothing to leave out{kept}"
    speed = f"{seconds:.1f} s, {total / seconds:,.0f}/s"
    lines.append(f"{total:,} images ({by_split}) in {speed}; {left_out}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _histogram(found: "Audit") -> dict[str, int]:
    """Return the number of readable images from each edge to the next."""
    values = found.features["colorfulness"][found.features["bytes"] > 0]
    counts = np.histogram(values, [*_EDGES, np.inf])[0].tolist()
    return dict(zip(map(str, _EDGES), counts, strict=True))


def _rows(found: "Audit") -> dict[str, list[str]]:
    """Return the images of each kind of fault, as text."""
    names = {
        "damaged": "damaged JPEG",
        "near_grey": "near-grey",
        "pale": f"pale (below {found.min_colorfulness or 0:g})",
        "tiny": f"tiny (below {found.min_side} px)",
        "cmyk": "CMYK",
    }
    if found.min_colorfulness is None:
        del names["pale"]
    rows = {
        "broken": [f"{_shown(found, i)} ({printable(e.reason)})" for i, e in found.broken.items()],
        **{names[kind]: [_shown(found, i) for i in found.faults[kind]] for kind in names},
        "copies": [],
        "near duplicates": [],
    }
    digests = found.features["digest"]
    for group in found.groups:
        seen = {digests[group.representative]}
        for index in group.copies:
            kind = "copies" if digests[index] in seen else "near duplicates"
            seen.add(digests[index])
            rows[kind].append(f"{_shown(found, index)} of {_shown(found, group.representative)}")
    return rows


def as_json(found: "Audit", seconds: float, excluded: Mapping[int, str]) -> dict[str, Any]:
    """Return the findings for JSON."""

    def named(indices: Iterable[int], *fields: str) -> list[dict[str, Any]]:
        return [
            {
                "name": found.images.name(int(index)),
                "split": found.split(index),
                **{field: found.features[field][index].item() for field in fields},
            }
            for index in indices
        ]

    fields = {
        "near_grey": ["chroma"],
        "pale": ["colorfulness"],
        "tiny": ["width", "height"],
        "cmyk": ["has_profile"],
    }
    reasons = [{"reason": error.reason} for error in found.broken.values()]
    return {
        "images": {name: len(part) for name, part in found.parts.items()},
        "seconds": seconds,
        "images_per_second": len(found.features) / seconds,
        "min_side": found.min_side,
        "min_colorfulness": found.min_colorfulness,
        "colorfulness": _histogram(found),
        "broken": [a | b for a, b in zip(named(found.broken), reasons, strict=True)],
        **{kind: named(own, *fields.get(kind, ())) for kind, own in found.faults.items()},
        "duplicates": [
            {
                "exact": group.exact,
                "splits": [name for i, name in enumerate(found.parts) if i in group.splits],
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


def _shown(found: "Audit", index: int) -> str:
    """Return an image's name and split, for a terminal."""
    name = printable(found.images.name(int(index)))
    split = found.split(index)
    return name if name.startswith(f"{split}/") else f"{name} ({split})"
