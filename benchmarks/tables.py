"""The tables of the README and the docs, made from `benchmarks/results/*.json`.

    python benchmarks/tables.py          writes them into the documents
    python benchmarks/tables.py --check  exit code 1 if a document says something else

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a file of results.
`<!-- table: systems NAME -->` contains one of the systems and the baselines.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("[!_]*/*.md")))

_MARKED = re.compile(r"(<!-- table: (\w+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown; all columns but the first are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: dict[str, float], digits: int) -> str:
    """Median and range."""
    median, low, high = (f"{values[name]:.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def mean_range(values: Sequence[float], digits: int) -> str:
    """Mean and range."""
    low, mean, high = min(values), sum(values) / len(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def with_interval(metric: dict[str, float], digits: int, sign: str = "") -> str:
    """Value and interval; `sign` is "+" for a difference."""
    value, low, high = (f"{metric[name]:{sign}.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def loader(report: dict[str, Any]) -> str:
    """Images per second of a core, and how many times that is the notebook's."""
    rows = []
    for row in report["rows"]:
        rate = {name: way["images_per_second"]["median"] for name, way in row["ways"].items()}
        rows.append(
            [
                f"{row['width']} x {row['height']}, {row['bytes'] / 1000:.0f} kB",
                f"{rate['uint8']:.0f}",
                f"{rate['lab']:.0f}",
                f"{rate['notebook']:.0f}",
                spread(row["ratio"]["uint8/decode"], 2),
                spread(row["ratio"]["uint8/notebook"], 1),
                spread(row["ratio"]["uint8/notebook_bilinear"], 1),
            ]
        )
    head = [
        f"JPEG, to {report['size']} px",
        "uint8 batch",
        "(L, ab)",
        "notebook's (L, ab)",
        "uint8 batch : decoding alone",
        "uint8 batch : notebook",
        "the same, bilinear",
    ]
    return table(head, rows)


def shards(report: dict[str, Any]) -> str:
    """Images per second of a core from a folder and from shards, and what is stored of each."""
    rows = []
    for row in report["rows"]:
        cells = [f"{row['width']} x {row['height']}"]
        for way in ("folder", "jpeg", "uint8"):
            rate = row["ways"][way]["images_per_second"]["median"]
            cells.append(f"{rate:.0f} ({row['bytes'][way] / 1000:.0f} kB)")
        cells += [spread(row["ratio"][f"{way}/folder"], 1) for way in ("jpeg", "uint8")]
        rows.append([*cells, f"{row['check']:.0%}"])
    head = [f"JPEG, to {report['size']} px", "folder", "JPEG shards", "uint8 shards"]
    head += ["JPEG shards : folder", "uint8 shards : folder", "SHA-256, first epoch"]
    return table(head, rows)


def probe(report: dict[str, Any]) -> str:
    """What the features of each encoder know of color, by size."""
    rows = [
        [
            f"{row['encoder']}, {row['size']} px",
            *(f"{row[name]:.3f}" for name in ("r2", "correlation")),
            f"{row['images_per_second']:.0f}",
            f"{row['features']:,}",
        ]
        for row in report["encoders"]
    ]
    return table(["encoder", "R2", "correlation", "images/s", "features"], rows)


def fit_overhead(report: dict[str, Any]) -> str:
    """Milliseconds of a step, and the ratio without and with checkpoints."""
    milliseconds = report["milliseconds_per_step"]
    described = f"{report['experiment']}, {report['size']} px, batch {report['batch_size']}"
    row = [
        f"{described}, {report['precision']}",
        f"{milliseconds['bare']:.1f} ms",
        f"{milliseconds['fit']:.1f} ms",
        spread(milliseconds["difference"], 1),
        spread(report["ratio"], 3),
        f"{report['seconds_per_save']['median']:.2f} s",
        spread(report["ratio_with_checkpoints"], 3),
    ]
    head = ["experiment", "bare loop", "fit", "difference in ms", "fit : bare loop"]
    head += ["a checkpoint", f"with one every {report['save_every_n_minutes']:g} min"]
    return table(head, [row])


def host_step(report: dict[str, Any]) -> str:
    """Microseconds of the host, by part."""
    rows = []
    for system, parts in report["microseconds"].items():
        for part, found in parts.items():
            before, after = found["before"], found["after"]
            ratio = after["median"] / before["median"]
            rows.append([f"{system}: {part}", spread(before, 0), spread(after, 0), f"{ratio:.2f}"])
    return table(["microseconds of the host", "before", "after", "after : before"], rows)


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
        [f"{names[s['stage']]}: {s['detail']}", spread(s["images_per_second"], 0)]
        for s in report["stages"]
    ]
    return table(["stage", "images/s"], rows) + f"\n{report['conclusion']}.\n"


def photos_cpu(report: dict[str, Any]) -> str:
    """Metrics of networks and baselines."""
    columns = {"psnr": 2, "ssim": 4, "ciede2000": 2, "colorfulness_ratio": 3, "ab_corr": 3}
    rows = [
        [name, *(f"{metrics[column]:.{digits}f}" for column, digits in columns.items())]
        for name, metrics in report["metrics"].items()
    ]
    return table(["", *columns], rows)


def gans(report: dict[str, Any]) -> str:
    """Metrics over seeds, and the discriminator's accuracy in the last epoch."""
    columns = {"psnr": 2, "ssim": 4, "ciede2000": 2, "colorfulness_ratio": 3, "ab_corr": 3}
    rows = []
    for name, runs in report["systems"].items():
        cells = []
        for column, digits in columns.items():
            cells.append(mean_range([run["metrics"][column] for run in runs], digits))
        accuracies = [run["d_accuracy"] for run in runs if run["d_accuracy"] is not None]
        accuracy = f"{min(accuracies):.2f} to {max(accuracies):.2f}" if accuracies else "-"
        rows.append([name, *cells, accuracy])
    for name in ("grey", "mean", "lut"):
        metrics = report["metrics"][name]
        rows.append([name, *(f"{metrics[c]:.{digits}f}" for c, digits in columns.items()), "-"])
    return table(["", *columns, "D accuracy"], rows)


def systems(report: dict[str, Any]) -> str:
    """Metrics of the published systems with 95 % intervals, and of the baselines."""
    columns = {"psnr": 2, "ciede2000": 2, "ab_corr": 2, "ssim": 3, "colorfulness_ratio": 2}

    def cells(metrics: dict[str, dict[str, float]]) -> list[str]:
        # Intervals of all five would not fit the page.
        wide = ("psnr", "ciede2000", "ab_corr")
        return [
            with_interval(metrics[c], d) if c in wide else f"{metrics[c]['value']:.{d}f}"
            for c, d in columns.items()
        ]

    marks = {"ImageNet": " (ImageNet weights)", "random": " (from scratch)", None: ""}
    rows = [
        [f"{name}{marks[row['weights']]}", *cells(row["metrics"]), f"{row['images_seen']:,}"]
        for name, row in report["systems"].items()
    ]
    rows += [[name, *cells(metrics), "-"] for name, metrics in report["baselines"].items()]
    text = table(["", *columns, "images seen"], rows)
    return text + (
        f"\n{report['minutes']:g} minutes of training at {report['size']} px for each system, the "
        f"same images; {report['images']} test images, 95 % intervals over them.\n"
    )


def colorize(report: dict[str, Any]) -> str:
    """Images per second of `colorize`, of a plain loop and of each stage alone."""
    columns = ["colorize", "plain", "read", "predict", "write"]
    rows = []
    for kind, size in (("large", "1632 x 1224"), ("small", "288 x 216")):
        rates, cells = report[kind]["images_per_second"], []
        for name in columns:
            low, median, high = sorted(rates[name])
            cells.append(spread({"median": median, "low": low, "high": high}, 1))
        ratio, share = report[kind]["ratio"], report[kind]["of_slowest_stage"]
        rows.append([size, *cells, f"{ratio:.2f}", f"{share:.2f}"])
    memory = ", ".join(f"{size} {mib:.0f} MiB" for size, mib in report["memory_mib"].items())
    ratios = ["colorize : plain", "colorize : slowest stage"]
    return table(["images/s", *columns, *ratios], rows) + f"\nMost memory: {memory}.\n"


def default_model(report: dict[str, Any]) -> str:
    """Metrics of the model of the package with several decodings, by folder."""
    columns = {"psnr": 2, "ciede2000": 2, "colorfulness_ratio": 2, "ab_corr": 2}
    text = ""
    for folder, measured in report["folders"].items():
        rows = [
            [name, *(with_interval(metrics[column], d) for column, d in columns.items())]
            for name, metrics in measured["rows"].items()
        ]
        text += table([f"{folder}, {measured['images']} test images", *columns], rows) + "\n"
    return text + f"At {report['size']} px, 95 % intervals over the images.\n"


def gpu(report: dict[str, Any]) -> str:
    """The bare step with one switch more in each row; rates of `fit` and of the notebook."""
    steps, rates, ratios = [], [], []
    for system in report["systems"]:
        described = f"{system['name']}, {system['size']} px, batch {system['batch_size']}"
        for name, row in system["bare"].items():
            times = row.get("milliseconds")
            cells = ["-" if times is None else spread(times, 1)]
            cells += _profile(row.get("profile"))
            cells += [f"{row['start_seconds']:.0f} s", f"{row['memory'] / 2**30:.1f} GiB"]
            steps.append([f"{described}: {name}", *cells])
        runs = {f"fit, {name}": run for name, run in system["fit"].items()}
        runs |= {name: system[name] for name in ("notebook", "loader") if name in system}
        for name, run in runs.items():
            waits, memory = run.get("waits"), run.get("peak_device_memory")
            cells = [f"{run['images_per_second']:.0f}"]
            for key, text in (("data_wait_share", "{:.1%}"), ("start_seconds", "{:.0f} s")):
                cells.append("-" if run.get(key) is None else text.format(run[key]))
            cells.append("-" if waits is None else f"{waits['count']} in {waits['batches']}")
            seconds = run.get("checkpoint_seconds")
            cells.append("-" if seconds is None else f"{seconds:.1f} s")
            cells.append("-" if memory is None else f"{memory / 2**30:.1f} GiB")
            rates.append([f"{described}: {name}", *cells])
        ratios += [
            [f"{system['name']}: {n}", f"{v:.2f}"] for n, v in system.get("ratios", {}).items()
        ]
    head = ["bare step", "ms", "kernels, ms", "kernels", "waits", "copies", "layout", "start"]
    text = table([*head, "memory"], steps)
    head = ["training", "images/s", "device idle", "start", "waits", "checkpoint", "memory"]
    return text + "\n" + table(head, rates) + "\n" + table(["ratio", ""], ratios) + _left(report)


def _profile(found: dict[str, Any] | None) -> list[str]:
    """Cells of a profile."""
    if found is None:
        return ["-"] * 5
    counts = (found[name] for name in ("kernels", "cudaStreamSynchronize", "Memcpy"))
    cells = [f"{found['kernel_milliseconds']:.1f}", *(f"{count:.0f}" for count in counts)]
    return [*cells, f"{found['layout_share']:.1%}"]


def _left(report: dict[str, Any]) -> str:
    """Parts of a GPU benchmark that were left out, or failed."""
    parts = [f"Not measured: {name} ({reason})." for name, reason in report["skipped"].items()]
    parts += [f"Failed: {name} ({reason})." for name, reason in report["failed"].items()]
    return "".join(f"\n{part}\n" for part in parts)


def gpu_checks(report: dict[str, Any]) -> str:
    """What is to hold on a GPU, and rates of decoding there."""
    rows = [
        [
            name,
            *(spread(row[how], 0) for how in ("cpu", "device")),
            f"{row['mean_difference']:.2f}",
        ]
        for name, row in report["decoding"].items()
    ]
    head = ["JPEGs to the device", "CPU's cores, images/s", "device, images/s", "mean step"]
    far = {**report.get("colors", {}), **report.get("resume", {})}
    text = table(head, rows) + "\n"
    text += table(["largest difference", ""], [[name, f"{v:.1e}"] for name, v in far.items()])
    if two := report.get("two_processes"):
        text += f"\nTwo processes on one device: {two['status']}, {two['images_seen']} images.\n"
    return text + _left(report)


# What reports hold that are no medians of times.
UNTIMED = {"criteria", "folders", "found", "metrics", "runs", "seeds", "sweep", "systems"}
UNTIMED |= {"encoders", "images_per_second", "protocols", "decoding"}

TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "bench": bench,
    "colorize": colorize,
    "default_model": default_model,
    "fit_overhead": fit_overhead,
    "gan_step": fit_overhead,
    "gans": gans,
    "gpu": gpu,
    "gpu_checks": gpu_checks,
    "host_step": host_step,
    "loader": loader,
    "photos_cpu": photos_cpu,
    "probe": probe,
    "shards": shards,
    "systems": systems,
}


def origin(report: dict[str, Any]) -> str:
    """Where the figures come from."""
    where = report["environment"]
    timed = "" if report.keys() & UNTIMED else " Median (range)."
    commit = where["git_commit"][:10] if where["git_commit"] else "before the first"
    device = f"{where['accelerator']}, " if where["accelerator"] else ""
    return (
        f"\n`{report['command']}`, commit {commit}, {device}"
        f"{where['cpu_count']} cores of {where['cpu']}, "
        f"torch {where['versions']['torch']}.{timed}\n"
    )


def missing(text: str, results: Path = RESULTS) -> list[str]:
    """Return the tables that a document names but that have no results."""
    names = [match.group(2) for match in _MARKED.finditer(text)]
    return [name for name in names if not (results / f"{name}.json").is_file()]


def render(text: str, results: Path = RESULTS) -> str:
    """Return a document with its tables updated; those without results stay as they are.

    Raises:
        ValueError: If it names a table that there is not, or has a marker without its end; or if
            results are of a toy size.
    """

    def replaced(match: re.Match[str]) -> str:
        start, name, system, end = match.groups()
        if name not in TABLES:
            raise ValueError(f"there is no table {name}, only {', '.join(TABLES)}")
        path = results / f"{name}.json"
        if not path.is_file():
            return match.group()
        report = json.loads(path.read_text())
        if report.get("toy"):
            raise ValueError(f"{path.name} is of a toy size, which says nothing")
        if system is not None:
            report["systems"] = {system: report["systems"][system]}
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
