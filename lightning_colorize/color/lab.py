"""RGB to (L, ab) and back, always in fp32: all conversions of the package go through this file.

CIE LAB of sRGB under D65 and the 2 degree observer, with scikit-image's constants. A bf16
conversion errs by a mean delta E of 0.76 and tints pure grey, and TF32, which cuDNN takes for
convolutions unless told otherwise, rounds to 10 bits. Kornia's colour matrices are an einsum on
CPUs and a convolution on GPUs: autocast or TF32 would lower them. Here they are written out as sums
of planes, which nothing lowers, and which a compiler joins to one kernel with what surrounds them.
"""

import torch
from torch import Tensor, nn

AB_SCALE = 110.0
"""LAB units of a and b that map to 1. In sRGB a lies in [-86.2, 98.2], b in [-107.9, 94.5]."""

_Matrix = list[list[float]]

# XYZ of linear sRGB, as IEC 61966-2-1 rounds it, and the white of D65.
_XYZ = [
    [0.412453, 0.357580, 0.180423],
    [0.212671, 0.715160, 0.072169],
    [0.019334, 0.119193, 0.950227],
]
_WHITE = [0.95047, 1.0, 1.08883]
_TO_XYZ: _Matrix = [[m / white for m in row] for row, white in zip(_XYZ, _WHITE, strict=True)]
_TO_LINEAR: _Matrix = torch.linalg.inv(torch.tensor(_TO_XYZ, dtype=torch.float64)).tolist()

# Below it, LAB is linear in XYZ.
_DARK = 0.008856
_DARK_ROOT = 0.2068966


def to_unit(rgb: Tensor) -> Tensor:
    """Return sRGB as fp32 in 0..1: the one place that divides by 255.

    Args:
        rgb: Any shape: uint8 in 0..255, or floating point in 0..1.

    Raises:
        TypeError: For any other dtype (kornia would take it and return nonsense).
    """
    if rgb.dtype == torch.uint8:
        return rgb.float() / 255.0
    if rgb.is_floating_point():
        return rgb.float()
    raise TypeError(f"rgb must be uint8 (0..255) or floating point (0..1), not {rgb.dtype}")


def to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Convert photographs to lightness and colour.

    Args:
        rgb: sRGB, (B, 3, H, W): uint8 in 0..255, or floating point in 0..1.

    Returns:
        L: (B, 1, H, W) in [0, 100] and ab: (B, 2, H, W) in LAB units, both fp32.

    Raises:
        TypeError: For any other dtype (kornia would take it and return nonsense).
    """
    from kornia.color import rgb_to_linear_rgb  # most of a second, which helps and messages save

    x, y, z = (_root(plane) for plane in _product(_TO_XYZ, rgb_to_linear_rgb(to_unit(rgb))))
    L = 116.0 * y - 16.0
    return L.unsqueeze(1), torch.stack([500.0 * (x - y), 200.0 * (y - z)], dim=1)


def to_rgb(L: Tensor, ab: Tensor, *, clip: bool = True) -> Tensor:
    """Convert lightness and colour to sRGB.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab: (B, 2, H, W) in LAB units.
        clip: Clip to 0..1. Leave it off inside losses: clipping has no gradient.

    Returns:
        sRGB, (B, 3, H, W), fp32, in 0..1 where `clip`.
    """
    from kornia.color import linear_rgb_to_rgb

    a, b = ab.float().unbind(dim=1)
    y = (L.float()[:, 0] + 16.0) / 116.0
    # Of impossible colours, Z would become negative.
    roots = torch.stack([y + a / 500.0, y, (y - b / 200.0).clamp(min=0.0)], dim=1)
    xyz = torch.where(roots > _DARK_ROOT, roots**3, (roots - 4.0 / 29.0) / 7.787)
    rgb: Tensor = linear_rgb_to_rgb(torch.stack(_product(_TO_LINEAR, xyz), dim=1))
    return rgb.clamp(0.0, 1.0) if clip else rgb


def _product(matrix: _Matrix, colors: Tensor) -> list[Tensor]:
    """Return the planes of a matrix times (B, 3, H, W): three times (B, H, W)."""
    first, second, third = colors.unbind(dim=1)
    return [row[0] * first + row[1] * second + row[2] * third for row in matrix]


def _root(xyz: Tensor) -> Tensor:
    return torch.where(xyz > _DARK, xyz.clamp(min=_DARK) ** (1 / 3), 7.787 * xyz + 4.0 / 29.0)


class LabScaling(nn.Module):
    """Between LAB units and the networks' [-1, 1]; its constants travel in the state dict.

    Args:
        ab_scale: LAB units of a and b that map to 1.
    """

    ab_scale: Tensor

    def __init__(self, ab_scale: float = AB_SCALE) -> None:
        super().__init__()
        self.register_buffer("ab_scale", torch.tensor(float(ab_scale)))

    def normalise_L(self, L: Tensor) -> Tensor:
        """Map L in [0, 100] to [-1, 1]."""
        return L / 50.0 - 1.0

    def normalise_ab(self, ab: Tensor) -> Tensor:
        """Map ab in LAB units to [-1, 1]."""
        return ab / self.ab_scale

    def restore_ab(self, ab: Tensor) -> Tensor:
        """Map ab in [-1, 1] to LAB units, in fp32."""
        return ab.float() * self.ab_scale
