"""The audit features of one image, in a record of fixed length."""

from hashlib import blake2b
from pathlib import Path

import imagehash
import numpy as np
from PIL import ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import colorfulness, to_lab, to_unit
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import decode_image, is_damaged, read_header

NEAR_GREY = 5.0
"""An image is near-grey if the 95th percentile of its chroma is below this, in LAB units."""

_CROPS = (0.0, 0.05, 0.1)  # shares that are left out at each side
_HASH_SIDE = 16  # lowest frequencies in each direction
_FLAT = 2.0  # contrast in levels of 255, below which a hash would be noise

# Features are computed at this short side: close to what training reads, and fast to decode.
_FEATURE_SIDE = 128

FEATURES = np.dtype(
    [
        ("digest", "S16"),  # of the file's bytes
        ("bytes", np.int64),
        ("height", np.int32),
        ("width", np.int32),
        ("damaged", np.bool_),  # JPEG data
        ("cmyk", np.bool_),
        ("has_profile", np.bool_),
        ("chroma", np.float32),  # as returned by `grey_chroma`
        ("colorfulness", np.float32),  # from absolute differences, as BigColor's code measures it
        ("hashes", np.uint8, (2 * len(_CROPS), _HASH_SIDE**2 // 8)),  # of `perceptual_hashes`
    ]
)
"""The features of an image; all zeros if it is broken."""


def audit_image(data: bytes, path: Path) -> np.ndarray:
    """Compute the features of an image file, () of `FEATURES`; an ImageError if it is broken."""
    features = np.zeros((), dtype=FEATURES)
    header = read_header(data, path)
    rgb = limit_length(decode_image(data, path, _FEATURE_SIDE))
    rgb = resize_short_side(rgb, min(_FEATURE_SIDE, *rgb.shape[1:]))
    features["digest"] = blake2b(data, digest_size=16).digest()
    features["bytes"] = len(data)
    features["height"], features["width"] = header.height, header.width
    features["damaged"] = is_damaged(data)
    features["cmyk"], features["has_profile"] = header.mode == "CMYK", header.has_profile
    features["chroma"] = grey_chroma(rgb)
    features["colorfulness"] = colorfulness(to_unit(rgb[None]), absolute=True).item()
    features["hashes"] = perceptual_hashes(rgb)
    return features


def grey_chroma(rgb: Tensor) -> float:
    """Return the 95th percentile of the chroma, the length of (a, b), of (3, H, W), uint8, sRGB.

    In LAB units.
    """
    _, ab = to_lab(rgb[None])
    return float(np.percentile(ab.norm(dim=1).numpy(), 95))


def perceptual_hashes(rgb: Tensor) -> np.ndarray:
    """Return hashes of 256 bits of the image, its mirror image, and two crops of both.

    From (3, H, W), uint8, to (6, 32), uint8; zeros for an image without contrast.
    """
    grey = TF.to_pil_image(TF.rgb_to_grayscale(rgb))
    if np.std(grey) < _FLAT:
        return np.zeros((2 * len(_CROPS), _HASH_SIDE**2 // 8), np.uint8)
    hashes = []
    for share in _CROPS:
        across, down = round(share * grey.width), round(share * grey.height)
        view = grey.crop((across, down, grey.width - across, grey.height - down))
        hashes += [imagehash.phash(image, _HASH_SIDE) for image in (view, ImageOps.mirror(view))]
    return np.packbits([found.hash.ravel() for found in hashes], axis=1)
