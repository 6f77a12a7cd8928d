"""How films follow references: fidelity, flicker, drift, cuts and time.

    python benchmarks/film.py [--film FILE ...] [--limit N]

Films in color are made grey, and colored with and without the original frames of the shots' ends.
Three films of 200 frames are made from photographs: `static`, with another grain in each frame,
`pan`, which zooms too, and `cuts`, three such pans. `--film` adds others, of one shot each.

Columns: number of references; PSNR at 128 px, with the original's lightness; change of ab along the
motion (flicker; of single frames in parentheses); mean difference of ab of the first and the last
frame (drift, for `static`); cuts that were found; seconds per frame.
"""

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import to_lab, to_unit
from lightning_colorize.common.bundled import BUNDLED, DEFAULT
from lightning_colorize.inference import Options
from lightning_colorize.inference.film import colorize_film
from lightning_colorize.inference.reference import to_reference
from lightning_colorize.metrics.functional import per_image
from lightning_colorize.models.control import Control
from lightning_colorize.models.load import load_model

PHOTOGRAPHS = Path(__file__).parents[1] / "docs/photographs"
HEIGHT, WIDTH = 480, 640
GRAIN = 4.0  # standard deviation in levels of 255


def generated(kind: str, frames: int = 200) -> Iterator[np.ndarray]:
    """Yield the frames, (H, W, 3), uint8, of a film made from photographs."""
    names = ["coffee", "surfer", "astronaut"] if kind == "cuts" else ["coffee"]
    generator = np.random.default_rng(0)
    for name in names:
        image = Image.open(PHOTOGRAPHS / f"{name}.jpg").convert("RGB").resize((960, 720))
        for index in range(frames // len(names)):
            share = 0.0 if kind == "static" else index / frames * len(names)
            scale = 1 + share / 4
            left, top = 100 * share, 100 * share
            box = (left, top, left + WIDTH * scale, top + HEIGHT * scale)
            frame = np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box))
            noise = generator.normal(0, GRAIN, frame.shape[:2])[..., None]
            yield (frame + noise).clip(0, 255).astype(np.uint8)


def read(file: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a film as `generated` does."""
    with av.open(str(file)) as film:
        for frame in film.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def write_grey(frames: list[np.ndarray], file: Path) -> None:
    """Write the grey version of a film, without loss."""
    with av.open(str(file), "w") as film:
        height, width = frames[0].shape[:2]
        stream = film.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        for frame in frames:
            grey = np.asarray(Image.fromarray(frame).convert("L"))
            film.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        film.mux(stream.encode(None))


def colors(frames: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return L and ab of the frames, reduced to 128 px."""
    pixels = to_unit(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2))
    return to_lab(F.interpolate(pixels, scale_factor=128 / min(pixels.shape[2:]), mode="area"))


def measure(name: str, frames: list[np.ndarray], ends: list[int], folder: Path) -> None:
    """Color a film without, with and without references at the ends of its shots; print a row."""
    model = load_model(BUNDLED[DEFAULT])
    source, target = folder / f"{name}.mkv", folder / "colored.mkv"
    write_grey(frames, source)
    L, ab = colors(frames)
    chosen = sorted({0, len(frames) - 1, *ends, *(each - 1 for each in ends)})
    references = tuple(
        replace(to_reference(torch.from_numpy(frames[i]).permute(2, 0, 1)), frame=i) for i in chosen
    )
    for given in ((), references, ()):
        start, control = time.perf_counter(), Control(references=given)
        done = deque(colorize_film(model, source, target, Options(), control=control), 1).pop()
        seconds = (time.perf_counter() - start) / done.frames
        _, found = colors(list(read(target)))
        psnr = per_image(L, found, ab)["psnr"].mean()
        drift = (found[-1] - found[0]).abs().mean()
        flicker = f"{done.flicker:.3f} ({done.flicker_frame_by_frame:.3f})"
        print(
            f"{name:10} {len(given):10} {psnr:5.2f} {flicker:>13} {drift:5.2f} {done.cuts:4} "
            f"{seconds:.3f}",
            flush=True,
        )


def main() -> None:
    """Measure the generated and the given films."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--film", type=Path, nargs="*", default=[])
    parser.add_argument("--limit", type=int, help="of the frames of each film")
    args = parser.parse_args()
    print(f"{'film':10} references  psnr       flicker drift cuts seconds")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("static", "pan", "cuts"):
            frames = list(generated(name, args.limit or 200))
            third = len(frames) // 3
            measure(name, frames, [third, 2 * third] if name == "cuts" else [], Path(folder))
        for file in args.film:
            measure(file.stem, list(islice(read(file), args.limit)), [], Path(folder))


if __name__ == "__main__":
    main()
