"""Synthetic benchmark images."""

from pathlib import Path

import numpy as np
from PIL import Image

from lightning_colorize.data.sources.embedded import PHOTOGRAPHS

# Luminance noise in 8-bit steps. Enlarged images without noise would be too easy to decode. With
# it, a 12-megapixel JPEG at quality 90 takes 0.2 bytes per pixel, like a camera's.
_NOISE = 3.0


def write_images(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Write enlarged crops of scikit-image's photographs as JPEGs; the files are deterministic."""
    random = np.random.default_rng(0)
    photographs = [Image.fromarray(load()) for load in PHOTOGRAPHS.values()]
    paths = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        # Crop most of the photograph to the requested shape.
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
