"""`lightning-colorize colorize` for films."""

import argparse
import json
import sys
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable

if TYPE_CHECKING:
    from lightning_colorize.inference import Options
    from lightning_colorize.inference.devices import ModelFile

_FOR_IMAGES = {
    "sheet": False,
    "consistent": False,
    "shard": (1, 1),
    "devices": 1,
    "dry_run": False,
    "format": "same",
    "already_color": "recolor",
    "max_pixels": None,
    "max_density": None,
    "seed": 0,
    **dict.fromkeys(("samples", "hints", "palette", "label", "prompt", "controls")),
}
"""Options that films do not support, with their defaults."""


def run_film(args: argparse.Namespace, files: "dict[str, ModelFile]", options: "Options") -> int:
    """Colorize a film; returns 1 if the file is damaged, or sound is lost."""
    target = _plan(args)
    if list(files) != [""]:
        raise UsageError("a film takes one --checkpoint, without a NAME=")
    model = files[""].load(args.device)
    from lightning_colorize.common.progress import progress
    from lightning_colorize.inference.film import (
        colorize_film,
        count_frames,
        frame_references,
        shots_of,
    )
    from lightning_colorize.inference.motion import FilmProgress
    from lightning_colorize.inference.reference import read_references
    from lightning_colorize.models.control import Control

    done = FilmProgress()
    skipped = target.exists() and not args.overwrite
    if not skipped:
        (source,) = args.input
        total = min(count_frames(source), args.limit or sys.maxsize)
        references = [*read_references(args.reference)] if args.reference else []
        if args.reference_frames:
            references += frame_references(read_references(args.reference_frames), source)
        control = Control(references=references)
        control.require_accepted(model)
        frames = colorize_film(
            model, source, target, options, args.limit, control, args.review or 0
        )
        shown = frames if args.quiet else progress(frames, total, "colorizing")
        done = deque(shown, maxlen=1).pop()
        if done.damaged:
            done.notes.append(f"{done.damaged} damaged parts")
        lines = [f"lost from {source}: {'; '.join(done.notes)}"] if done.notes else []
        if references:
            lines += [f"references correspond to {done.corresponding:,} of {done.frames:,} frames"]
        if args.review:
            lines += [f"first frames of the shots -> {shots_of(target)}"]
        for line in [] if args.quiet else lines:
            print(line, file=sys.stderr)
    if args.json:
        count = {"ok": int(not skipped), "skipped": int(skipped), "failed": 0}
        print(json.dumps({**count, "output": str(target), **asdict(done)}))
    elif skipped:
        print(f"skipped, as {target} exists; --overwrite replaces it")
    else:
        flicker = f"flicker {done.flicker:.2f} ({done.flicker_frame_by_frame:.2f} frame by frame)"
        print(f"frames colorized: {done.frames:,}, cuts: {done.cuts}, {flicker} -> {target}")
    return 1 if done.damaged or done.sound_lost else 0


def _plan(args: argparse.Namespace) -> Path:
    """Return the file to write."""
    from lightning_colorize.inference.film import FORMATS, shots_of

    source: Path = args.input[0]
    target: Path = args.output
    if len(args.input) > 1:
        raise UsageError("films are colorized one at a time: give one INPUT")
    for name, default in _FOR_IMAGES.items():
        if getattr(args, name) != default:
            raise UsageError(f"--{name.replace('_', '-')} is for images, not for films")
    if target.is_dir() or not target.suffix:
        target /= source.name
        if target.suffix.lower() not in FORMATS:
            target = target.with_suffix(".mp4")
    if target.suffix.lower() not in FORMATS:
        raise UsageError(f"OUTPUT {target}: films are written as {', '.join(FORMATS)}")
    if target.resolve() == source.resolve():
        raise UsageError(f"OUTPUT {target} is also INPUT; give another name")
    if not source.is_file():
        raise UsageError(f"{source} {'is not a file' if source.exists() else 'does not exist'}")
    require_writable(target, "OUTPUT")
    if args.review and shots_of(target).exists():
        raise UsageError(f"--review: {shots_of(target)} exists; move it")
    return target
