"""RGB to LAB and back: this package, kornia and scikit-image, images per second of one core.

    python benchmarks/lab.py [--pairs 15] [--size 256] [--json FILE] [--quick]

Ours and kornia convert a batch of 32 uint8 images; scikit-image converts them one by one, as in a
notebook's `__getitem__`: from uint8, which is float64 inside, and from float32. The ways run by
turns in one process, on one thread, and are compared by CPU time.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from loader import BATCH_SIZE, interleaved, measure_sizes, ratio
from skimage.color import lab2rgb, rgb2lab

from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.color import to_lab, to_rgb, to_unit
from lightning_colorize.data.dataset import crop_square, resize_short_side
from lightning_colorize.data.decoding.files import read_image

RESULT = Path(__file__).parent / "results" / "lab.json"

SIZES = ((500, 375, BATCH_SIZE),)
QUICK_SIZES = ((120, 90, 4),)


def compare(folder: Path, width: int, height: int, count: int, size: int, pairs: int) -> dict:
    """Return one row of the result."""
    paths = write_images(folder, count, width, height)
    squares = [crop_square(resize_short_side(read_image(p, size), size), size) for p in paths]
    rgb = torch.stack(squares)
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in rgb]
    exact = [rgb2lab(image / 255.0) for image in arrays]
    lab = torch.from_numpy(np.stack(exact)).permute(0, 3, 1, 2).float().contiguous()
    exact32 = [image.astype(np.float32) for image in exact]
    ways: dict[str, Callable[[], object]] = {
        "to_lab": lambda: to_lab(rgb),
        "to_lab_kornia": lambda: rgb_to_lab(to_unit(rgb)),
        "to_lab_skimage": lambda: [rgb2lab(image).astype(np.float32) for image in arrays],
        "to_lab_skimage_float32": lambda: [rgb2lab(np.float32(i) / 255) for i in arrays],
        "to_rgb": lambda: to_rgb(lab[:, :1], lab[:, 1:]),
        "to_rgb_kornia": lambda: lab_to_rgb(lab),
        "to_rgb_skimage": lambda: [lab2rgb(image) for image in exact],
        "to_rgb_skimage_float32": lambda: [lab2rgb(image) for image in exact32],
    }
    cpu, _ = interleaved(ways, count, pairs)
    converted = {"ours": torch.cat(to_lab(rgb), dim=1), "kornia": rgb_to_lab(to_unit(rgb))}
    return {
        "width": width,
        "height": height,
        "images": count,
        "ratio": {
            f"{name}/{other}": ratio(cpu, name, other)
            for name in ("to_lab", "to_rgb")
            for other in ways
            if other.startswith(f"{name}_")
        },
        "largest_error": {name: (t - lab).abs().max().item() for name, t in converted.items()},
        "ways": {name: timing.as_dict() for name, timing in cpu.items()},
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    measure_sizes(
        argv,
        RESULT,
        __doc__.splitlines()[0],
        (SIZES, QUICK_SIZES),
        compare,
        head=lambda row: f"{row['images']} images",
        foot=lambda row: f"largest error in LAB units {row['largest_error']}",
        batch_size=BATCH_SIZE,
    )


if __name__ == "__main__":
    main()
