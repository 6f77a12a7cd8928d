"""`lightning-colorize colorize`: colorizes images and films."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.commands.colorize_film import run_film
from lightning_colorize.commands.options import MODEL, add_network_options
from lightning_colorize.common.arguments import Parser, split_name
from lightning_colorize.common.bundled import BUNDLED, DEFAULT, SAMPLES
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.common.text import format_time, printable

if TYPE_CHECKING:
    from lightning_colorize.inference import JobPlan, Options, Record
    from lightning_colorize.inference.devices import ModelFile
    from lightning_colorize.models.base import Model

HELP = "colorize an image, a folder of images, or a film"

_SHOWN_FAILURES = 5


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_path(
        "input",
        "INPUT",
        "images, folders (searched recursively), patterns such as 'scans/**/*.tif', or - for "
        "names on standard input; or a film",
        nargs="+",
    )
    parser.add_path(
        "output",
        "OUTPUT",
        "folder for the results, which keep the structure of INPUT; for one image or film "
        "also a file name",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="[NAME=]CKPT_OR_RUN",
        type=split_name,
        action="append",
        help=f"{MODEL}, or a bundled model: `default` or, with --samples, `default-samples`. With "
        "NAME=, results are written to OUTPUT/NAME; may be repeated",
    )
    add_network_options(parser, "short side of the network's input in pixels")
    _add_controls(parser)
    parser.add_argument(
        "--format",
        choices=("png", "jpg", "webp", "tiff", "same"),
        default="same",
        help="format of the results (default: the format of each image, or PNG)",
    )
    parser.add_flag("--overwrite", "replace existing results; otherwise they are skipped")
    parser.add_argument(
        "--already-color",
        choices=("skip", "recolor"),
        default="recolor",
        help="what to do with color images; grey and sepia images are always colorized "
        "(default: recolor)",
    )
    parser.add_argument(
        "--upsample",
        choices=("bilinear", "guided"),
        default="bilinear",
        help="guided: colors follow the edges of the full-resolution image and bleed less "
        "(default: bilinear)",
    )
    text = "write OUTPUT/sheet.jpg: some images in grey and as each model colors them"
    parser.add_flag("--sheet", text)
    parser.add_int("--limit", "colorize only the first N images")
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        default=(1, 1),
        help="colorize only the I-th of N parts, so that N processes or jobs can share OUTPUT",
    )
    text = "use N GPUs of this machine, or N processes with --device cpu (default: 1)"
    parser.add_int("--devices", text, default=1)
    text = "write nothing; colorize a few images and estimate time and disk space for all"
    parser.add_flag("--dry-run", text)
    text = "maximum batch size; lowered if memory is short (default: 8)"
    parser.add_int("--batch-size", text, default=8)
    parser.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        default="32-true",
        help="precision of the network; 16 bits are faster on GPUs, bf16 also on CPUs that support "
        "it, without visible difference (default: 32-true)",
    )
    text = "number of threads that read and write (default: one per CPU core)"
    parser.add_int("--workers", text, default=cores())
    parser.add_int(
        "--max-pixels",
        "reject images with more than N pixels; a pixel takes about 15 bytes of memory "
        "(default: 268435456)",
    )
    parser.add_int(
        "--max-density",
        "reject images above 40 megapixels with more than N pixels per byte of the file, "
        "which take minutes and gigabytes and are rarely photographs (default: 100)",
    )
    parser.add_flag("--quiet", "hide progress and failures")
    parser.add_flag("--json", "print the result as JSON")


def _add_controls(parser: Parser) -> None:
    """Add the options for what is asked of the colors, if the model accepts it."""
    text = "write N colorings of each image: NAME_1.jpg, NAME_2.jpg, ..."
    parser.add_int("--samples", text, most=1000)  # all are in memory
    text = "seed of the samples; the same one gives the same colors (default: 0)"
    parser.add_int("--seed", text, 0, default=0, metavar="S")
    parser.add_path(
        "--hints",
        "IMAGE_OR_FOLDER",
        "colors painted on a transparent image, or a folder of these, each named as its image",
    )
    parser.add_path(
        "--reference",
        "IMAGE_OR_FOLDER",
        "a color photograph of the same scene or things, whose colors are taken where it "
        "corresponds; or a folder of these, each named as its image",
    )
    parser.add_path(
        "--reference-frames",
        "FOLDER",
        "colored frames of a film, named by their index (000120.png) or time (00-00-04.800.png)",
    )
    text = "of a film, also write the first frames of at most N shots to OUTPUT_shots/, as PNGs to "
    parser.add_int("--review", text + "paint, and to give as --reference-frames")
    text = "color the same things alike: results are references of the images that follow"
    parser.add_flag("--consistent", text)
    parser.add_argument(
        "--palette",
        metavar="COLORS_OR_IMAGE",
        help="1 to 5 colors, such as 'red,#304080' or 'navy:0.7,orange:0.3' with their shares, or "
        "an image with these colors",
    )
    parser.add_argument("--label", metavar="NAME", help="class name of the images")
    parser.add_argument("--prompt", metavar="TEXT", help="description of the images")
    parser.add_path(
        "--controls",
        "FILE",
        "CSV or JSON lines with the columns image and some of hints, reference, palette, label "
        "and prompt, for single images; files are relative to its folder",
    )


def _shard(text: str) -> tuple[int, int]:
    index, separator, count = text.partition("/")
    if not separator or not index.isdecimal() or not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a part such as 2/8")
    if not 1 <= int(index) <= int(count):
        raise argparse.ArgumentTypeError(f"{text} is not one of 1/{count} to {count}/{count}")
    return int(index), int(count)


def run(args: argparse.Namespace) -> int:
    """Colorize; returns 1 if any image failed."""
    files = _model_files(args)
    options = _options(args)
    from lightning_colorize.inference import colorize_files, plan_jobs, require_other_files
    from lightning_colorize.inference.devices import colorize_on_devices, device_names
    from lightning_colorize.inference.jobs import FILM_SUFFIXES, add_controls
    from lightning_colorize.models.control import Control, parse_palette
    from lightning_colorize.reports.colored_sheet import is_sheet, write_sheet

    if any(path.suffix.lower() in FILM_SUFFIXES for path in args.input):
        return run_film(args, files, options)
    if args.review or args.reference_frames:
        option = "--review" if args.review else "--reference-frames"
        raise UsageError(f"{option} is for films, not for images")
    try:
        plan = plan_jobs(_names(args.input), args.output, args.format)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    palette = None if args.palette is None else parse_palette(args.palette)
    control = Control(None, palette, args.label or "", args.prompt or "")
    if args.consistent and (args.devices > 1 or args.shard != (1, 1)):
        raise UsageError("--consistent colors one image after another, not by --devices or --shard")
    plan = add_controls(plan, control, args.samples, args.hints, args.reference, args.controls)
    if plan.folder is None and (args.sheet or "" not in files):
        option = "--sheet" if args.sheet else "--checkpoint NAME="
        raise UsageError(f"{option} needs a folder as OUTPUT, not the file {args.output}")
    plans = {name: plan.below(args.output, name) for name in files}
    sheet = args.output / "sheet.jpg" if args.sheet else None
    require_other_files(plans.values(), sheet)
    if sheet is not None and not args.overwrite and sheet.exists() and not is_sheet(sheet):
        raise UsageError(
            f"--sheet would overwrite {sheet}, which is not a contact sheet; move it elsewhere"
        )
    plans = {name: own.part(args.limit, *args.shard) for name, own in plans.items()}
    devices = device_names(args.device, args.devices)
    if not args.checkpoint:
        _require_settings(args)
    # Load all models before using the first. Additional devices load them again.
    loaded = {name: file.load(devices[0]) for name, file in files.items()}
    for model in loaded.values():
        model.require_samples(args.samples or 1)
        if args.seed and not model.draws:
            raise UsageError("--seed is for models that sample: add --samples N, or omit it")
        for control in dict.fromkeys(job.control for job in plan.jobs):
            control.require_accepted(model)
    if not args.checkpoint and not args.quiet:
        name = files[""].path.stem
        print(f"using the bundled model {name}; choose another with --checkpoint", file=sys.stderr)
    if args.dry_run:
        return max(_estimate(args, plans[name], m, options) for name, m in loaded.items())
    codes = []
    for name, model in loaded.items():
        own = plans[name]
        work = (own.jobs, options, own.folder, own.others)
        if args.devices == 1:
            records = colorize_files(model, *work)
        else:
            records = colorize_on_devices(files[name], devices[: len(own.jobs) or 1], *work)
        codes.append(_report(args, own, records))
    if sheet is not None:
        if not write_sheet(sheet, {name or "colorized": own.jobs for name, own in plans.items()}):
            print("no sheet: no image was colorized", file=sys.stderr)
        elif not args.json:
            print(f"sheet -> {sheet}")
    return max(codes)


def _model_files(args: argparse.Namespace) -> "dict[str, ModelFile]":
    """Return the model files by name; "" for a model without a name."""
    from lightning_colorize.inference.devices import ModelFile

    files: dict[str, ModelFile] = {}
    given = args.checkpoint or [("", BUNDLED[DEFAULT if args.samples is None else SAMPLES])]
    for name, path in given:
        # The results of a model without a name could overwrite those in another's folder.
        if len(given) > 1 and (not name or name in files):
            raise UsageError("several --checkpoint options: give each its own NAME=")
        if "/" in name or name in (".", ".."):
            raise UsageError(
                f"--checkpoint {name}={path}: NAME is a folder in OUTPUT, without a slash"
            )
        files[name] = ModelFile(path, args.allow_class, args.settings, args.precision, args.size)
    return files


def _require_settings(args: argparse.Namespace) -> None:
    """Refuse a setting that only the other bundled model has, with the option that chooses it."""
    from lightning_colorize.models.generative import GenerativeSettings
    from lightning_colorize.models.settings import ClassificationSettings

    of_default, of_samples = (
        {*settings.names()} for settings in (ClassificationSettings, GenerativeSettings)
    )
    plain = args.samples is None
    for name in (of_samples - of_default if plain else of_default - of_samples) & {*args.settings}:
        text = f"{SAMPLES}: add --samples N" if plain else f"{DEFAULT}: omit --samples"
        raise UsageError(f"--{name} is a setting of the bundled {text}")


def _options(args: argparse.Namespace) -> "Options":
    from lightning_colorize.data.decoding.files import LIMITS, Limits
    from lightning_colorize.inference import Options

    return Options(
        overwrite=args.overwrite,
        limits=Limits(args.max_pixels or LIMITS.pixels, args.max_density or LIMITS.density),
        batch_size=args.batch_size,
        workers=args.workers,
        skip_colored=args.already_color == "skip",
        guided=args.upsample == "guided",
        seed=args.seed,
        consistent=args.consistent,
    )


def _names(inputs: list[Path]) -> list[Path]:
    """Return the inputs, with `-` replaced by names from standard input, one per line or NUL."""
    if Path("-") not in inputs:
        return inputs
    text = sys.stdin.read()
    # Not `splitlines`: other line separators can be part of a name.
    lines = text.split("\0" if "\0" in text else "\n")
    named = [Path(line) for line in lines if line]
    if not named:
        raise UsageError("standard input contains no names; give one name per line")
    return [path for path in inputs if path != Path("-")] + named


def _report(args: argparse.Namespace, plan: "JobPlan", records: "Iterable[Record]") -> int:
    """Show progress and the result; return the exit code."""
    from lightning_colorize.common.progress import progress
    from lightning_colorize.data.sources.listing import is_hidden
    from lightning_colorize.inference.colorize import EXISTS, MANIFEST

    failures, others = dict[str, str](), dict[str, str]()
    count: Counter[str] = Counter({"ok": 0, "skipped": 0, "failed": 0})
    fallbacks = Counter[str]()
    deviating = existing = 0
    total = len(plan.jobs) + len(plan.others)
    for record in records if args.quiet else progress(records, total, "colorizing"):
        count[record.status] += 1
        fallbacks.update(record.fallbacks)
        deviating += bool(record.fallbacks)
        existing += any(EXISTS in text for text in (record.reason, *record.fallbacks))
        if plan.folder is None and record.fallbacks and not args.quiet:
            _print_to_stderr(f"{record.output}: {'; '.join(record.fallbacks)}")
        if record.status == "failed":
            failures[record.input] = record.reason
        elif not record.output and not is_hidden(Path(record.input).name):
            others[record.input] = record.reason
    if not args.quiet:
        if plan.folder is not None and fallbacks:
            such = fallbacks.most_common(1)[0][0]
            _print_to_stderr(
                f"{deviating} with fallbacks, such as: {such}; see {plan.folder / MANIFEST}"
            )
        _print_failures(failures, _SHOWN_FAILURES)
        _print_failures(others if len(others) <= _SHOWN_FAILURES else {}, _SHOWN_FAILURES)
    single = len(plan.jobs) == 1 and args.input[0].is_file()
    results = plan.jobs[0].targets if single else [plan.folder or args.output]
    if args.json:
        print(json.dumps({**count, "output": str(results[0]), "failures": failures}))
    else:
        done = f"{count['ok']} colorized, {count['skipped']} skipped, {count['failed']} failed"
        hint = "; --overwrite replaces existing results" if existing else ""
        last = f" to {results[-1].name}" if results[1:] else ""
        print(f"{done} -> {results[0]}{last}{hint}")
    return 1 if failures else 0


def _print_failures(failures: dict[str, str], most: int) -> None:
    for image, reason in islice(failures.items(), most):
        _print_to_stderr(f"not colorized: {image}: {reason}")
    if len(failures) > most:
        _print_to_stderr(f"... and {len(failures) - most} more; see the manifest")


def _print_to_stderr(line: str) -> None:
    print(printable(line), file=sys.stderr)


def _estimate(args: argparse.Namespace, plan: "JobPlan", model: "Model", options: "Options") -> int:
    """Print the estimate for all images; returns 1 if a tried image failed."""
    from dataclasses import asdict

    from lightning_colorize.inference.estimate import estimate

    found = estimate(model, plan.jobs, options, plan.folder or args.output.parent)
    if not args.quiet:
        _print_failures(found.failures, found.images)
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
