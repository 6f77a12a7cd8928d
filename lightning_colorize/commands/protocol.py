"""`lightning-colorize protocol`: measures a system so that results can be compared."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_colorize.commands.options import add_checkpoint, add_measuring_options
from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_new, write_json
from lightning_colorize.common.provenance import git_commit, versions

if TYPE_CHECKING:
    from lightning_colorize.evaluation.pretrained import PretrainedResult

HELP = "measure a system on images of a fixed size and shape, for the leaderboard"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "protocol",
        metavar="NAME",
        help="native, crop256, stretch256, hints10, old-photos, a published one such as "
        "val5k-crop256 or val50k, or the path of a YAML file; results of the same protocol are "
        "comparable",
    )
    add_checkpoint(parser, "system")
    parser.add_argument(
        "--metric",
        metavar="NAME[=WEIGHTS]",
        action="append",
        default=[],
        help="also measure with a pretrained network: fid, kid, mifid, fid_torchvision, "
        "lpips_alex, lpips_vgg, clip_score, or frechet:MODEL for the Frechet distance of a timm "
        "model; WEIGHTS is a file, required for frechet:MODEL (default: the published weights, "
        "from the cache of torch.hub or Hugging Face, or downloaded); may be repeated",
    )
    add_measuring_options(parser, "split of the folder, as in evaluate", in_batches=False)
    parser.add_flag("--overwrite", "replace the file of --json")


def run(args: argparse.Namespace) -> int:
    """Measure and print a result.

    Return 1 if images are unreadable, the prediction is not finite, or the calibration fails.
    """
    if args.json is not None:
        require_new(args.overwrite, args.json)
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.data import choose_images, find_truth, trained_on
    from lightning_colorize.evaluation.pretrained import PretrainedMetrics
    from lightning_colorize.evaluation.protocol import (
        COLUMNS,
        LONGEST_NAME,
        ProtocolImages,
        ProtocolResult,
        measure_protocol,
        read_protocol,
    )
    from lightning_colorize.evaluation.systems import open_system, split_word
    from lightning_colorize.models.control import require_conditions
    from lightning_colorize.models.load import choose_device

    protocol = read_protocol(args.protocol)
    device = choose_device(args.device)
    pretrained = PretrainedMetrics(args.metric, device)
    name, path = split_word(str(args.system))
    if len(name) > LONGEST_NAME:
        raise UsageError(f"the name of the system has more than {LONGEST_NAME} characters")
    system = open_system(name, path, args.data, args.allow_class, device)
    model, settings = system.model, {}
    require_conditions(model, {"hints"} if protocol.hint_points else set())
    if protocol.damaged and not model.keeps_lightness:
        raise UsageError(
            f"{protocol.name} needs a model that keeps the lightness; {path} returns whole images"
        )
    size = args.size or model.size
    if model.keeps_lightness:
        model.settings = model.settings.updated(args.settings)
        settings = {"size": size, **model.settings.values()}
    elif args.settings or args.size is not None:
        option = next(iter(args.settings), "size")
        raise UsageError(f"--{option} has no effect on {path}, which returns whole images")
    found = find_truth(args.data, args.split, [system], args.allow_class)
    found = replace(found, images=protocol.choose(args.data, found.images))
    _, missing = choose_images(found, [system], None, 0)
    if lost := missing.get(name):
        raise UsageError(
            f"{path} lacks {lost[0]}; a protocol needs all {len(found.images):,} images"
        )
    overlap = trained_on(found, [system], args.allow_class)
    images = ProtocolImages(protocol, found.images)
    if len(images) < 2:
        raise UsageError(f"{args.data} has one image; a protocol needs several for its intervals")
    start = time.perf_counter()
    try:
        rows, extra, change = measure_protocol(system, images, size, pretrained, device)
    except FloatingPointError as error:
        print(f"{name}: {error}: no metrics", file=sys.stderr)
        return 1
    result = ProtocolResult(
        system=name,
        sha256=model.sha256,
        settings=settings,
        protocol=images.measured(),
        rows=rows,
        changes_lightness=change,
        unreadable=len(images.broken),
        trained_on=overlap.get(name),
        pretrained=extra,
        versions=versions(*pretrained.packages),
        git_commit=git_commit(),
    )
    shown = {row: {k: v.value for k, v in metrics.items()} for row, metrics in rows.items()}
    print_plain(metrics_table(shown, metrics=COLUMNS))
    _print_pretrained(extra)
    print(f"{result.protocol}, in {time.perf_counter() - start:.1f} s")
    for broken in images.broken:
        print(f"left out: {broken}", file=sys.stderr)
    if result.trained_on:
        print(f"{result.trained_on:,} of these images are training images", file=sys.stderr)
    print(f"calibration: {result.problem or 'passed'}", file=sys.stderr)
    if args.json is not None:
        write_json(args.json, result.model_dump())
    return 1 if images.broken or result.problem else 0


def _print_pretrained(results: "Sequence[PretrainedResult]") -> None:
    """Print metrics of pretrained networks."""
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.metrics.spec import Metric

    if not results:
        return
    columns = [Metric(each.label, each.goal, "{:.4g}", each.title) for each in results]
    rows = {row: {each.label: each.rows[row].value for each in results} for row in results[0].rows}
    print_plain(metrics_table(rows, metrics=columns))
    for each in results:
        print(f"{each.label}: {each.title}; N {each.images:,}")
