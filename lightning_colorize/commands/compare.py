"""`lightning-colorize compare`: colourisers beside each other, as one page."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.errors import UsageError
from lightning_colorize.run_summary import differences, summarize

if TYPE_CHECKING:
    from lightning_colorize.evaluation.comparison import Plan, Report

HELP = "colour the same pictures by several runs: sheets, metrics and a page; a study on wish"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "systems",
        metavar="NAME=RUN_OR_CKPT_OR_FOLDER",
        nargs="+",
        help="a run folder (its best checkpoint), a checkpoint, or a folder of pictures coloured "
        "elsewhere; differences are taken from the first; NAME= may be left out",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", type=Path, required=True, help="photographs in colour"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where the page is written"
    )
    parser.add_argument(
        "--split",
        choices=("test", "val", "train", "all"),
        help="which of the photographs, as for evaluate",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=int,
        help="height and width in pixels (default: as the first network was trained)",
    )
    parser.add_argument(
        "--max-pictures", metavar="N", type=int, help="a random subset, the same at every call"
    )
    parser.add_argument(
        "--no-truth",
        action="store_true",
        help="the photographs' own colours are no truth (found out where they have none)",
    )
    parser.add_argument(
        "--study", action="store_true", help="also write DIR/study.html, which asks people"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of subset, intervals and study"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers, not rounded")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the page that is in DIR already"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=32)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--allow-class",
        metavar="CLASS",
        action="append",
        default=[],
        help="a class, module or package that checkpoints may import besides our own",
    )


def run(args: argparse.Namespace) -> int:
    """Compare; returns 1 if some of the pictures could not be read."""
    for name in ("size", "batch_size", "max_pictures"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: it must be at least 1")
    for page in ("index.html", *(["study.html"] if args.study else [])):
        if (args.out / page).exists() and not args.overwrite:
            raise UsageError(f"{args.out / page} is there already; --overwrite replaces it")
    from lightning_colorize.evaluation.comparison import (
        INDEX,
        STUDY,
        warnings,
        write_comparison,
        write_study,
    )

    plan = _plan(args)
    if plan.study:
        write_study(plan)
    runs = [system.run for system in plan.systems if system.run is not None]
    settings = differences([summarize(run_) for run_ in runs])
    report = write_comparison(plan, settings)
    unread = len(plan.found.pictures) - len(report.measured.names)
    for error in report.measured.broken:
        print(f"left out: {error}", file=sys.stderr)
    for line in warnings(plan, unread):
        print(line, file=sys.stderr)
    _print(report)
    for page in (INDEX, *([STUDY] if plan.study else [])):
        print(plan.out / page)
    if args.json is not None:
        from lightning_colorize.run_folder import write_atomic

        numbers = _as_json(plan, report)
        write_atomic(args.json, json.dumps(numbers, indent=2) + "\n")
    return 1 if unread else 0


def _plan(args: argparse.Namespace) -> "Plan":
    from lightning_colorize.evaluation import find_pictures
    from lightning_colorize.evaluation.comparison import (
        Plan,
        choose_pictures,
        colorless,
        default_size,
        open_systems,
    )
    from lightning_colorize.inference import choose_device

    data = args.data.expanduser()
    every = find_pictures(data, args.split)
    device = choose_device(args.device)
    systems = open_systems(args.systems, data, args.allow_class, device)
    found, missing = choose_pictures(every, systems, args.max_pictures, args.seed)
    truth = not args.no_truth and not colorless(found.pictures)
    if args.study and not truth and len(systems) < 2:
        raise UsageError("--study needs the true colours, or two systems, to have a choice")
    return Plan(
        systems=systems,
        found=found,
        missing=missing,
        data=data,
        out=args.out,
        size=args.size or default_size(systems),
        batch_size=args.batch_size,
        seed=args.seed,
        device=device,
        truth=truth,
        study=args.study,
    )


def _print(report: "Report") -> None:
    from rich.console import Console

    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.comparison import METRICS

    if report.metrics is None:
        print("the pictures have no colours of their own: no metrics")
        return
    rows = {
        name: dict(zip(METRICS, row, strict=True))
        for name, row in zip(report.measured.rows, report.metrics.tolist(), strict=True)
    }
    print_plain(Console(), metrics_table(rows))


def _as_json(plan: "Plan", report: "Report") -> dict[str, Any]:
    from lightning_colorize.evaluation.comparison import METRICS
    from lightning_colorize.metrics.pictures import PictureValues

    measured = report.measured
    numbers: dict[str, Any] = {
        "data": str(plan.data),
        "split": plan.found.split,
        "size": plan.size,
        "pictures": len(measured.names),
        "unreadable": len(plan.found.pictures) - len(measured.names),
        "missing": {missing.system: missing.names for missing in plan.missing},
        "systems": {
            system.name: {
                "place": str(system.place),
                "run": None if system.run is None else str(system.run),
            }
            for system in plan.systems
        },
        "disagreement": dict(zip(measured.names, measured.disagreement.tolist(), strict=True)),
    }
    if report.metrics is None or measured.values is None:
        return numbers
    rows = measured.rows
    return numbers | {
        "metrics": {
            name: dict(zip(METRICS, row, strict=True))
            for name, row in zip(rows, report.metrics.tolist(), strict=True)
        },
        "differences": {
            name: {
                metric: {"value": of.value, "low": of.low, "high": of.high}
                for metric, of in zip(METRICS, row, strict=True)
            }
            for name, row in zip(rows, report.differences, strict=True)
        },
        "seeds": [
            {
                "systems": [rows[i] for i in group.members],
                "seeds": group.seeds,
                "metrics": {
                    metric: {"mean": mean, "spread": spread}
                    for metric, (mean, spread) in zip(METRICS, spreads, strict=True)
                },
            }
            for group, spreads in zip(report.groups, report.spreads, strict=True)
        ],
        "per_picture": {
            name: {
                picture: dict(zip(PictureValues._fields, values, strict=True))
                for picture, values in zip(measured.names, table.T.tolist(), strict=True)
            }
            for name, table in zip(rows, measured.values, strict=True)
        },
    }
