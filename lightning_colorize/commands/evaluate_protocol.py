"""`lightning-colorize evaluate --protocol`: a system measured so that others can compare."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import decoding_options
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_json
from lightning_colorize.common.processes import exit_on_sigterm
from lightning_colorize.common.provenance import git_commit, versions

if TYPE_CHECKING:
    from rich.console import Console

    from lightning_colorize.evaluation.pretrained import PretrainedResult


def add_protocol_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--protocol`."""
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="measure 8-bit images of a stated size and shape, with intervals: native, crop256, "
        "stretch256, val5k-crop256 or the path of a YAML file; results of one protocol can be "
        "compared, see leaderboard; the checkpoint may also be a folder of colorized images",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME[=WEIGHTS]",
        action="append",
        default=[],
        help="with --protocol: also measure with a pretrained network: fid, kid, fid_torchvision, "
        "lpips_alex, lpips_vgg, clip_score, or frechet:MODEL for the Frechet distance of a timm "
        "model; WEIGHTS is a file (default: the published weights, from the cache of torch.hub or "
        "of Hugging Face, else downloaded; MODEL has none); may be repeated",
    )


def run_protocol(args: argparse.Namespace) -> int:
    """Measure and print a result.

    Returns:
        1 if images could not be read, the prediction is not finite, the calibration fails, or a
        metric is not available.
    """
    for name in ("grid", "group_by"):
        if getattr(args, name) is not None:
            raise UsageError(f"--protocol and --{name.replace('_', '-')}: choose one of them")
    from rich.console import Console

    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.choice import (
        choose_images,
        find_truth,
        open_system,
        split_word,
        trained_on,
    )
    from lightning_colorize.evaluation.pretrained import PretrainedMetrics, find_metrics
    from lightning_colorize.evaluation.protocol import ProtocolImages, read_protocol
    from lightning_colorize.evaluation.protocol_result import (
        LONGEST_NAME,
        Measured,
        ProtocolResult,
        measure_protocol,
    )
    from lightning_colorize.evaluation.systems import Network
    from lightning_colorize.inference import choose_device

    protocol = read_protocol(args.protocol)
    asked = find_metrics(args.metric)
    device = choose_device(args.device)
    name, path = split_word(str(args.checkpoint))
    if len(name) > LONGEST_NAME:
        raise UsageError(f"the name of the system has more than {LONGEST_NAME} characters")
    system = open_system(name, path, args.data, args.allow_class, device)
    size, baselines, settings = 0, None, {}
    given = {name: v for name, v in decoding_options(args).items() if v is not None}
    if type(system) is Network:
        model = system.loaded
        model.set_decoding(**given)
        size, baselines = args.size or model.size, model.baselines
        settings = {"size": size, **model.decoding}
    elif given or args.size is not None:
        option = next(iter(given), "size")
        raise UsageError(
            f"--{option} is for networks of lightning-colorize; {path} is another system"
        )
    found = find_truth(args.data, args.split, [system], args.allow_class)
    found = replace(found, images=protocol.choose(args.data, found.images))
    _, missing = choose_images(args.data, found, [system], None, 0)
    if lost := missing.get(name):
        raise UsageError(
            f"{path} lacks {lost[0]}; a protocol needs all {len(found.images):,} images"
        )
    overlap = trained_on(found, [system], args.allow_class)
    images = ProtocolImages(protocol, found.images)
    if len(images) < 2:
        raise UsageError(f"{args.data} has one image; a protocol needs several for its intervals")
    pretrained = PretrainedMetrics(asked, device)
    start = time.perf_counter()
    exit_on_sigterm()  # after a command of others is ended
    system.color_all(images)
    try:
        rows, further, change = measure_protocol(
            system, images, size, baselines, pretrained, device
        )
    except FloatingPointError as error:
        print(f"{name}: {error}: no metrics", file=sys.stderr)
        return 1
    result = ProtocolResult(
        system=name,
        sha256=system.sha256,
        settings=settings,
        protocol=Measured(**images.describe()),
        rows=rows,
        changes_lightness=change,
        unreadable=len(images.broken),
        trained_on=overlap.get(name),
        pretrained=further,
        versions=versions(*sorted({name for metric, _ in asked for name in metric.packages})),
        git_commit=git_commit(),
    )
    shown = {row: {k: v.value for k, v in metrics.items()} for row, metrics in rows.items()}
    print_plain(Console(), metrics_table(shown))
    unavailable = _print_pretrained(Console(), further)
    print(f"{result.protocol}, in {time.perf_counter() - start:.1f} s")
    for broken in images.broken:
        print(f"left out: {broken}", file=sys.stderr)
    if result.trained_on:
        print(f"{result.trained_on:,} of these images were trained on", file=sys.stderr)
    print(f"calibration: {result.problem or 'passed'}", file=sys.stderr)
    if args.json is not None:
        write_json(args.json, result.model_dump())
    return 1 if images.broken or result.problem or unavailable else 0


def _print_pretrained(console: "Console", results: "Sequence[PretrainedResult]") -> bool:
    """Print metrics of pretrained networks; returns whether one is not available."""
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.metrics.spec import Metric

    measured = [result for result in results if result.reason is None]
    columns = []
    rows: dict[str, dict[str, float]] = {row: {} for each in measured for row in each.rows}
    for result in measured:
        values = {result.label: "value", f"{result.label}, infinite N": "infinite"}
        for column, key in values.items():
            columns.append(Metric(column, result.goal, "{:.4g}", result.title))
            for row, value in result.rows.items():
                if getattr(value, key) is not None:
                    rows[row][column] = getattr(value, key)
    if measured:
        print_plain(console, metrics_table(rows, metrics=columns))
    for result in measured:
        print(f"{result.label}: {result.title}; N {result.images:,}; {result.method}")
    lost = [result for result in results if result.reason is not None]
    for result in lost:
        print(f"{result.name}: n/a: {result.reason}", file=sys.stderr)
    return bool(lost)
