"""`lightning-colorize compare`: compares colorizers side by side on one page."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from lightning_colorize.commands.options import MODEL, add_measuring_options, add_samples
from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_new, require_writable, write_json
from lightning_colorize.common.provenance import versions
from lightning_colorize.runs.record import RunRecord, differences

if TYPE_CHECKING:
    from lightning_colorize.reports.comparison import Plan, Report

HELP = "compare runs on the same images: contact sheets, metrics, a page, optionally a study"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "systems",
        metavar="NAME=RUN_OR_CKPT_OR_FOLDER",
        nargs="+",
        help=f"{MODEL}, or a folder of images colorized elsewhere; differences are relative to the "
        "first; NAME= is optional",
    )
    parser.add_path("--out", "DIR", "folder for the page", required=True)
    parser.add_int("--max-images", "use a random subset, the same in every call")
    text = "do not compare with the images' own colors (the default for grey images)"
    parser.add_flag("--no-truth", text)
    parser.add_flag("--study", "also write DIR/study.html, a study with human raters")
    parser.add_int("--seed", "seed of the subset, intervals, study and samples", 0, default=0)
    add_samples(parser)
    parser.add_flag("--overwrite", "replace an existing page in DIR")
    add_measuring_options(parser, "split of the images, as in evaluate")


def run(args: argparse.Namespace) -> int:
    """Compare; returns 1 if images are unreadable or predictions are not finite."""
    if args.out.resolve().is_relative_to(args.data.resolve()):
        raise UsageError(
            f"--out {args.out} is inside --data: the page's sheets would be read as images; "
            "choose another folder"
        )
    if args.out.is_file():
        raise UsageError(f"--out {args.out} is a file; give a folder")
    pages = ("index.html", "errors.html", *(["study.html"] if args.study else []))
    require_new(args.overwrite, *(args.out / page for page in pages))
    from lightning_colorize.evaluation.table import print_metrics
    from lightning_colorize.reports.comparison import remarks, write_comparison
    from lightning_colorize.reports.perception.study import write_study

    plan = _plan(args)
    require_writable(args.out / pages[0], "--out")
    if plan.study:
        write_study(plan)
    runs = [system.run for system in plan.systems if system.run is not None]
    report = write_comparison(plan, differences([RunRecord(folder) for folder in runs]))
    unread = len(plan.found.images) - len(report.results.names)
    broken = (f"left out: {error}" for error in report.results.broken)
    for line in (*broken, *remarks(plan, report.results)):
        print(line, file=sys.stderr)
    if report.rows:
        print_metrics(report.rows, None, report.columns)
    else:
        print("without true colors there are no metrics")
    print(plan.found.describe(len(report.results.names), plan.data, plan.size))
    for page in pages:
        print(plan.out / page)
    if args.json is not None:
        write_json(args.json, _as_json(plan, report))
    return 1 if unread or report.results.undefined else 0


def _plan(args: argparse.Namespace) -> "Plan":
    from lightning_colorize.evaluation.data import choose_images, colorless, find_truth, trained_on
    from lightning_colorize.evaluation.systems import open_systems
    from lightning_colorize.models.load import choose_device
    from lightning_colorize.reports.comparison import Plan, default_size

    device = choose_device(args.device)
    systems = open_systems(args.systems, args.data, args.allow_class, device)
    known = {name for system in systems for name in system.model.settings.names()}
    for system in systems:
        model = system.model
        # A setting that no model has is refused by every model.
        own = {*model.settings.names(), *(args.settings.keys() - known)}
        given = {name: value for name, value in args.settings.items() if name in own}
        stored, model.settings = model.settings, model.settings.updated(given)
        if stored != model.settings:
            print(f"{system.name}: {model.settings}; its own are {stored}", file=sys.stderr)
    every = find_truth(args.data, args.split, systems, args.allow_class)
    found, missing = choose_images(every, systems, args.max_images, args.seed)
    truth = not args.no_truth and not colorless(found.images)
    if args.study and not truth and len(systems) < 2:
        raise UsageError("--study needs true colors or two systems")
    return Plan(
        systems=systems,
        found=found,
        missing=missing,
        trained_on=trained_on(found, systems, args.allow_class),
        data=args.data,
        out=args.out,
        size=args.size or default_size(systems),
        batch_size=args.batch_size,
        seed=args.seed,
        device=device,
        truth=truth,
        study=args.study,
        samples=args.samples,
    )


def _as_json(plan: "Plan", report: "Report") -> dict[str, Any]:
    return {
        "data": str(plan.data),
        "split": plan.found.split,
        "size": plan.size,
        "samples": plan.samples,
        "images": len(report.results.names),
        "unreadable": len(plan.found.images) - len(report.results.names),
        "missing": plan.missing,
        "trained_on": plan.trained_on,
        "systems": {
            system.name: {
                "path": str(system.path),
                "run": None if system.run is None else str(system.run),
            }
            for system in plan.systems
        },
        **report.as_dict(),
        "versions": versions(),
    }
