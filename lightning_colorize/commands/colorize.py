"""`lightning-colorize colorize`: images and films to colorized ones."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import (
    add_network_options,
    decoding_options,
    expanded_path,
    require_positive,
    split_name,
)
from lightning_colorize.common.bundled import DEFAULT
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.common.text import format_time, printable

if TYPE_CHECKING:
    from lightning_colorize.inference import Colorizer, Options, Plan, Record
    from lightning_colorize.inference.devices import ModelFile

HELP = "colorize an image, a folder of images, or a film"

_SHOWN_FAILURES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="+",
        type=expanded_path,
        help="an image, a folder of any depth, a pattern such as 'scans/**/*.tif', several of "
        "them, or - for names on standard input; or a film",
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        type=expanded_path,
        help="folder for the results, with the structure of INPUT; for one image or film also a "
        "file name",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="[NAME=]CKPT_OR_RUN",
        action="append",
        help="a checkpoint file, a run folder for its best checkpoint, or `default`: the model of "
        "the package. With NAME=, the results go to the folder NAME in OUTPUT; may be repeated",
    )
    add_network_options(parser, "pixels of the short side at which the network sees the image")
    parser.add_argument(
        "--format",
        choices=("png", "jpg", "webp", "tiff", "same"),
        default="same",
        help="of the results (default: that of each image, PNG where it cannot be written)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing results; otherwise they are skipped",
    )
    parser.add_argument(
        "--already-color",
        choices=("skip", "recolor"),
        default="recolor",
        help="what to do with an image that is neither grey nor of one tone, as sepia "
        "(default: recolor)",
    )
    parser.add_argument(
        "--upsample",
        choices=("bilinear", "guided"),
        default="bilinear",
        help="guided: colors follow the edges of the full-resolution image, and bleed less "
        "(default: bilinear)",
    )
    parser.add_argument(
        "--sheet",
        action="store_true",
        help="write OUTPUT/sheet.jpg: some images in grey and in color, of each model",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N images")
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        default=(1, 1),
        help="only the I-th of N parts of the images: N processes or jobs share one OUTPUT",
    )
    parser.add_argument(
        "--devices",
        metavar="N",
        type=int,
        default=1,
        help="color on N GPUs of this machine, or in N processes with --device cpu (default: 1)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing; color a few images and estimate time and disk space for all",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=int,
        default=8,
        help="most images that the network sees at once; lowered if memory is short (default: 8)",
    )
    parser.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        default="32-true",
        help="of the network: half of it is faster on GPUs, and bf16 on CPUs that have it; colors "
        "differ by less than can be seen (default: 32-true)",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=cores(),
        help="threads that read and write (default: one for each CPU core)",
    )
    parser.add_argument(
        "--max-pixels",
        metavar="N",
        type=int,
        help="reject images with more than N pixels, of which each takes about 15 bytes of memory "
        "(default: 268435456)",
    )
    parser.add_argument(
        "--max-density",
        metavar="N",
        type=int,
        help="reject images above 40 megapixels with more than N pixels for each byte of the file, "
        "which take minutes and gigabytes and are hardly photographs (default: 100)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no list of failures")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _shard(text: str) -> tuple[int, int]:
    index, separator, count = text.partition("/")
    if not separator or not index.isdecimal() or not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a part such as 2/8")
    if not 1 <= int(index) <= int(count):
        raise argparse.ArgumentTypeError(f"{text} is not one of 1/{count} to {count}/{count}")
    return int(index), int(count)


def run(args: argparse.Namespace) -> int:
    """Colorize; returns 1 if any image failed."""
    require_positive(
        args, "size", "max_pixels", "max_density", "batch_size", "workers", "limit", "devices"
    )
    models = _named_models(args.checkpoint or [DEFAULT])
    from lightning_colorize.inference import colorize_files, plan_jobs, require_other_files
    from lightning_colorize.inference.devices import colorize_on_devices, device_names
    from lightning_colorize.inference.film import FILM_SUFFIXES

    if any(path.suffix.lower() in FILM_SUFFIXES for path in args.input):
        return _run_film(args, models)
    try:
        plan = plan_jobs(_names(args.input), args.output, args.format)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    if plan.folder is None and (args.sheet or "" not in models):
        option = "--sheet" if args.sheet else "--checkpoint NAME="
        raise UsageError(f"{option} needs a folder as OUTPUT, not the file {args.output}")
    plans = {name: _below(plan, args.output, name) for name in models}
    sheet = args.output / "sheet.jpg" if args.sheet else None
    require_other_files(plans.values(), sheet)
    if sheet is not None and not args.overwrite:
        _require_own(sheet)
    plans = {name: _part(own, args) for name, own in plans.items()}
    devices = device_names(args.device, args.devices)
    files = {name: _model_file(args, path) for name, path in models.items()}
    # All are loaded before the first works. Further devices load them again.
    loaded = {name: file.load(devices[0]) for name, file in files.items()}
    if not args.checkpoint and not args.quiet:
        print("with the model of the package; --checkpoint takes another", file=sys.stderr)
    if args.dry_run:
        return max(_estimate(args, plans[name], model) for name, model in loaded.items())
    codes = []
    for name, model in loaded.items():
        own, options = plans[name], _options(args, model)
        _begin_manifest(own)
        if args.devices == 1:
            records = colorize_files(model, own.jobs, options, own.folder, own.others)
        else:
            records = colorize_on_devices(
                files[name], devices, own.jobs, options, own.folder, own.others
            )
        codes.append(_report(args, own, records))
    if sheet is not None:
        _write_sheet(args, sheet, plans)
    return max(codes)


def _run_film(args: argparse.Namespace, models: dict[str, Path]) -> int:
    from lightning_colorize.commands.colorize_film import plan_film, run_film

    target = plan_film(args)
    if list(models) != [""]:
        raise UsageError("a film takes one --checkpoint, without a NAME=")
    loaded = _model_file(args, models[""]).load(args.device)
    return run_film(args, loaded, _options(args, loaded), target)


def _model_file(args: argparse.Namespace, path: Path) -> "ModelFile":
    from lightning_colorize.inference.devices import ModelFile

    return ModelFile(path, args.allow_class, decoding_options(args), args.precision)


def _named_models(words: list[str]) -> dict[str, Path]:
    """Return the checkpoints by name, "" for one without."""
    models: dict[str, Path] = {}
    for word in words:
        name, path = split_name(word)
        # The results of one without a name could be those of another in its folder.
        if len(words) > 1 and (not name or name in models):
            raise UsageError("several --checkpoint: give each its own NAME=")
        if "/" in name or name in (".", ".."):
            raise UsageError(f"--checkpoint {word}: NAME is a folder in OUTPUT, without a slash")
        models[name] = path
    return models


def _below(plan: "Plan", output: Path, name: str) -> "Plan":
    """Return a plan with its results in a folder of the output."""
    if not name:
        return plan
    folder = output / name
    jobs = [job._replace(target=folder / job.target.relative_to(output)) for job in plan.jobs]
    return plan._replace(jobs=jobs, folder=folder)


def _part(plan: "Plan", args: argparse.Namespace) -> "Plan":
    """Return what `--limit` and `--shard` leave of a plan."""
    index, count = args.shard
    return plan._replace(
        jobs=plan.jobs[: args.limit][index - 1 :: count], others=plan.others[index - 1 :: count]
    )


def _options(args: argparse.Namespace, loaded: "Colorizer") -> "Options":
    from lightning_colorize.data.decoding.files import LIMITS, Limits
    from lightning_colorize.inference import Options

    return Options(
        args.size or loaded.size,
        overwrite=args.overwrite,
        limits=Limits(args.max_pixels or LIMITS.pixels, args.max_density or LIMITS.density),
        batch_size=args.batch_size,
        workers=args.workers,
        skip_colored=args.already_color == "skip",
        guided=args.upsample == "guided",
    )


def _names(inputs: list[Path]) -> list[Path]:
    """Return the inputs, those of standard input in place of `-`, one a line or after a NUL."""
    if Path("-") not in inputs:
        return inputs
    text = sys.stdin.read()
    # Not `splitlines`: other separators of lines can be part of a name.
    lines = text.split("\0" if "\0" in text else "\n")
    named = [Path(line) for line in lines if line]
    if not named:
        raise UsageError("standard input names no image; give one name a line")
    return [path for path in inputs if path != Path("-")] + named


def _begin_manifest(plan: "Plan") -> None:
    """Refuse a folder that cannot be written, before the work."""
    from lightning_colorize.inference import open_manifest

    try:
        if plan.folder is not None:
            open_manifest(plan.folder).close()
    except OSError as error:
        raise UsageError(f"OUTPUT {plan.folder}: {error.strerror}") from None


def _report(args: argparse.Namespace, plan: "Plan", records: "Iterable[Record]") -> int:
    """Show progress and result; return the exit code."""
    from lightning_colorize.common.progress import progress
    from lightning_colorize.inference.colorize import EXISTS

    failures: list[Record] = []
    count: Counter[str] = Counter({"ok": 0, "skipped": 0, "failed": 0})
    fallbacks = existing = 0
    total = len(plan.jobs) + len(plan.others)
    for record in records if args.quiet else progress(records, total, "colorizing"):
        count[record.status] += 1
        fallbacks += bool(record.fallbacks)
        existing += record.reason == EXISTS
        if plan.folder is None and record.fallbacks and not args.quiet:
            line = f"{record.output}: {'; '.join(record.fallbacks)}"
            print(printable(line), file=sys.stderr)
        if record.status == "failed":
            failures.append(record)
    if not args.quiet:
        if plan.folder is not None and fallbacks:
            print(f"{fallbacks} with fallbacks: see the manifest", file=sys.stderr)
        _list(failures)
    single = len(plan.jobs) == 1 and args.input[0].is_file()
    result = plan.jobs[0].target if single else plan.folder or args.output
    if args.json:
        failed = {record.input: record.reason for record in failures}
        print(json.dumps({**count, "output": str(result), "failures": failed}))
    else:
        done = f"{count['ok']} colorized, {count['skipped']} skipped, {count['failed']} failed"
        hint = "; --overwrite replaces existing results" if existing else ""
        print(f"{done} -> {result}{hint}")
    return 1 if failures else 0


def _list(failures: "list[Record]") -> None:
    for record in failures[:_SHOWN_FAILURES]:
        _show_failure(record.input, record.reason)
    if len(failures) > _SHOWN_FAILURES:
        print(f"... and {len(failures) - _SHOWN_FAILURES} more: see the manifest", file=sys.stderr)


def _show_failure(image: str, reason: str) -> None:
    print(printable(f"not colorized: {image}: {reason}"), file=sys.stderr)


def _require_own(sheet: Path) -> None:
    """Refuse to replace a file that is not the sheet of an earlier call."""
    from lightning_colorize.reports.colored_sheet import is_sheet

    if sheet.exists() and not is_sheet(sheet):
        raise UsageError(f"--sheet would replace {sheet}, which is no sheet; move it elsewhere")


def _write_sheet(args: argparse.Namespace, file: Path, plans: "dict[str, Plan]") -> None:
    from lightning_colorize.reports.colored_sheet import write_sheet

    jobs = {name or "colorized": plan.jobs for name, plan in plans.items()}
    if not write_sheet(file, jobs):
        print("no sheet: no image was colorized", file=sys.stderr)
    elif not args.json:
        print(f"sheet -> {file}")


def _estimate(args: argparse.Namespace, plan: "Plan", loaded: "Colorizer") -> int:
    """Print what all images will take; returns 1 if an image that was tried failed."""
    from dataclasses import asdict

    from lightning_colorize.inference.estimate import estimate

    options = _options(args, loaded)
    found = estimate(loaded, plan.jobs, options, plan.folder or args.output.parent)
    if not args.quiet:
        for image, reason in found.failures.items():
            _show_failure(image, reason)
    code = 1 if found.failures else 0
    if args.json:
        print(json.dumps(asdict(found)))
        return code
    print(f"{found.images:,} images to colorize ({found.read / 1e6:,.0f} MB), {found.done:,} done")
    if found.tried:
        print(f"about {format_time(found.seconds)}, {found.written / 1e6:,.0f} MB of results")
        print(f"from {found.tried} images of {found.megapixels:.1f} megapixels on average")
    print(f"{found.free / 1e6:,.0f} MB are free in {args.output}")
    return code
