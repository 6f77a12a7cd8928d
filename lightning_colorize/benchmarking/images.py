"""Photographs to measure on, where the user gives none."""

from pathlib import Path

import numpy as np
from PIL import Image

from lightning_colorize.data.sources.embedded import PHOTOGRAPHS

# Of luminance, in 8-bit steps. Enlarged photographs without noise would be too easy to decode: with
# it, a JPEG of quality 90 takes 0.2 bytes a pixel at 12 megapixels, as a camera's does.
_NOISE = 3.0


def write_photographs(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Write JPEGs of quality 90: enlarged pieces of scikit-image's photographs, with camera noise.

    Args:
        folder: Filled with `0000.jpg` and so on; always the same files.
        count: How many.
        width: In pixels.
        height: In pixels.
    """
    random = np.random.default_rng(0)
    photographs = [Image.fromarray(load()) for load in PHOTOGRAPHS.values()]
    paths = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        # Most of the photograph, cut to the shape that is wanted.
        scale = min(photograph.width / width, photograph.height / height)
        scale *= random.uniform(0.7, 1.0)
        left = random.uniform(0, photograph.width - scale * width)
        top = random.uniform(0, photograph.height - scale * height)
        box = (left, top, left + scale * width, top + scale * height)
        piece = photograph.resize((width, height), Image.Resampling.BICUBIC, box)
        noise = random.normal(0.0, _NOISE, (height, width, 1)).astype(np.float32)
        pixels = (np.asarray(piece, np.float32) + noise).round().clip(0, 255).astype(np.uint8)
        path = folder / f"{number:04d}.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        paths.append(path)
    return paths
