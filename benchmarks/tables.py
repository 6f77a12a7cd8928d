"""The tables of the README and the docs, made from `benchmarks/results/*.json`.

    python benchmarks/tables.py          writes them into the documents
    python benchmarks/tables.py --check  exit code 1 if a document says something else

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a file of results.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "sweeps.md")

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown; all columns but the first are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: dict[str, float], digits: int) -> str:
    """Median and range."""
    median, low, high = (f"{values[name]:.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def loader(report: dict[str, Any]) -> str:
    """Pictures per second of a core, and how many times that is the notebook's."""
    rows = []
    for row in report["rows"]:
        rate = {name: way["pictures_per_second"]["median"] for name, way in row["ways"].items()}
        rows.append(
            [
                f"{row['width']} x {row['height']}, {row['bytes'] / 1000:.0f} kB",
                f"{rate['uint8']:.0f}",
                f"{rate['lab']:.0f}",
                f"{rate['notebook']:.0f}",
                spread(row["ratio"]["uint8/notebook"], 1),
                spread(row["ratio"]["uint8/notebook_bilinear"], 1),
            ]
        )
    head = [
        f"JPEG, to {report['size']} px",
        "uint8 batch",
        "(L, ab)",
        "notebook's (L, ab)",
        "uint8 batch : notebook",
        "the same, bilinear",
    ]
    return table(head, rows)


def fit_overhead(report: dict[str, Any]) -> str:
    """Milliseconds of a step, and the ratio."""
    milliseconds = report["milliseconds_per_step"]
    described = f"{report['experiment']}, {report['size']} px, batch {report['batch_size']}"
    row = [
        f"{described}, {report['precision']}",
        f"{milliseconds['bare']:.1f} ms",
        f"{milliseconds['fit']:.1f} ms",
        spread(milliseconds["difference"], 1),
        spread(report["ratio"], 3),
    ]
    return table(["experiment", "bare loop", "fit", "difference in ms", "fit : bare loop"], [row])


def bench(report: dict[str, Any]) -> str:
    """What `lightning-colorize bench` printed."""
    names = {
        "loader": "loader",
        "memory": "loader",
        "lab": "LAB",
        "augment": "augmentation",
        "step": "training step",
        "together": "all together",
    }
    rows = [
        [f"{names[s['stage']]}: {s['detail']}", spread(s["pictures_per_second"], 0)]
        for s in report["stages"]
    ]
    return table(["stage", "pictures/s"], rows) + f"\n{report['conclusion']}.\n"


def photos_cpu(report: dict[str, Any]) -> str:
    """Metrics of networks and baselines."""
    columns = {"psnr": 2, "ssim": 4, "ciede2000": 2, "colorfulness_ratio": 3, "hue_r": 3}
    rows = [
        [name, *(f"{metrics[column]:.{digits}f}" for column, digits in columns.items())]
        for name, metrics in report["metrics"].items()
    ]
    return table(["", *columns], rows)


def gans(report: dict[str, Any]) -> str:
    """Metrics over seeds, and how often the discriminator was right in the last epoch."""
    columns = {"psnr": 2, "ssim": 4, "ciede2000": 2, "colorfulness_ratio": 3, "hue_r": 3}
    rows = []
    for name, runs in report["systems"].items():
        cells = []
        for column, digits in columns.items():
            values = [run["metrics"][column] for run in runs]
            low, mean, high = min(values), sum(values) / len(values), max(values)
            cells.append(f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        accuracies = [run["d_accuracy"] for run in runs if run["d_accuracy"] is not None]
        told = f"{min(accuracies):.2f} to {max(accuracies):.2f}" if accuracies else "-"
        rows.append([name, *cells, told])
    for name in ("grey", "mean", "lut"):
        metrics = report["metrics"][name]
        rows.append([name, *(f"{metrics[c]:.{digits}f}" for c, digits in columns.items()), "-"])
    return table(["", *columns, "D right"], rows)


def hyperband(report: dict[str, Any]) -> str:
    """What each rule spends of the grid's validations, and what it misses."""
    rows = [
        [
            f"min_iter: {rule['min_iter']}, eta: {rule['eta']:g}",
            *(
                spread({n: 100 * v for n, v in rule[name].items()}, 0)
                for name in ("spent", "regret")
            ),
        ]
        for rule in report["rules"]
    ]
    return table(["hyperband", "% of the validations", "% of the gap missed"], rows)


def sweep(report: dict[str, Any]) -> str:
    """The trials of a sweep, best first: what was tried, and what it came to."""
    columns = {"psnr": 2, "ciede2000": 2, "colorfulness_ratio": 3, "hue_r": 3}
    rows = [
        [
            ", ".join(row["what"]),
            *(f"{row['metrics'][f'val/{c}']:.{digits}f}" for c, digits in columns.items()),
        ]
        for row in report["rows"]
    ]
    return table(["", *(f"val/{column}" for column in columns)], rows)


def sweep_seeds(report: dict[str, Any]) -> str:
    """Configurations over seeds; a difference is clear where its interval leaves 0 out."""
    columns = {"psnr": 2, "ciede2000": 2, "colorfulness_ratio": 3, "hue_r": 3}
    rows = []
    for number, row in enumerate(report["rows"]):
        cells = []
        for column, digits in columns.items():
            mean, low, high = (
                f"{row['metrics'][column][n]:.{digits}f}" for n in ("mean", "low", "high")
            )
            cells.append(f"{mean} ({low} to {high})")
        for column in ("psnr", "ciede2000"):
            value, low, high = (
                f"{row['difference'][column][n]:+.3f}" for n in ("value", "low", "high")
            )
            cells.append(f"{value} ({low} to {high})" if number else "-")
        rows.append([row["name"], *cells])
    return table(["", *columns, "psnr, difference", "ciede2000, difference"], rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "bench": bench,
    "fit_overhead": fit_overhead,
    "gan_step": fit_overhead,
    "gans": gans,
    "hyperband": hyperband,
    "loader": loader,
    "photos_cpu": photos_cpu,
    "sweep": sweep,
    "sweep_seeds": sweep_seeds,
}


def origin(report: dict[str, Any]) -> str:
    """Where the figures come from."""
    where = report["environment"]
    timed = "" if report.keys() & {"metrics", "seeds", "sweep"} else " Median (range)."
    commit = where["git_commit"][:10] if where["git_commit"] else "before the first"
    return (
        f"\n`{report['command']}`, commit {commit}, {where['cpu_count']} cores of {where['cpu']}, "
        f"torch {where['versions']['torch']}.{timed}\n"
    )


def missing(text: str, results: Path = RESULTS) -> list[str]:
    """Return the tables that a document names but of which there are no results."""
    names = [match.group(2) for match in _MARKED.finditer(text)]
    return [name for name in names if not (results / f"{name}.json").is_file()]


def render(text: str, results: Path = RESULTS) -> str:
    """Return a document with its tables made anew; those without results stay as they are.

    Raises:
        ValueError: If it names a table that there is not, or has a marker without its end.
    """

    def replaced(match: re.Match[str]) -> str:
        start, name, end = match.groups()
        if name not in TABLES:
            raise ValueError(f"there is no table {name}, only {', '.join(TABLES)}")
        path = results / f"{name}.json"
        if not path.is_file():
            return match.group()
        report = json.loads(path.read_text())
        return f"{start}\n{TABLES[name](report)}{origin(report)}\n{end}"

    rendered, count = _MARKED.subn(replaced, text)
    if count != text.count("<!-- table: "):
        raise ValueError("a <!-- table: NAME --> lacks its <!-- end -->")
    return rendered


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    changed = []
    for path in DOCUMENTS:
        text = path.read_text()
        for name in missing(text):
            print(f"{path.relative_to(ROOT)}: no results for its table {name}")
        if (rendered := render(text)) != text:
            changed.append(path.relative_to(ROOT))
            if not args.check:
                path.write_text(rendered)
    for path in changed:
        print(f"{path} {'differs from the results' if args.check else 'written'}")
    return int(args.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
