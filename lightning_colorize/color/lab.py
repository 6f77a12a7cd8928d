"""RGB to (L, ab) and back, always in fp32: all conversions in this package use this file.

CIE LAB of sRGB under D65 and the 2 degree observer, with scikit-image's constants. A bf16
conversion errs by a mean delta E of 0.76 and tints pure grey, and TF32, which cuDNN uses for
convolutions by default, rounds to 10 bits.

Accelerators convert through kornia. Its color matrices are convolutions there, so they run within
`full_precision`. Two cases have their own implementation, which differs by less than 0.001 LAB
units:

- On a CPU kornia takes two to four times as long to LAB, in `torch.where`
  and `torch.pow`. Here the two branches of each curve are clamped and added, and powers are
  exp2(log2(x) * exponent).
- A compiled or exported graph cannot switch TF32 off for kornia's convolution. Here the matrices
  are sums of planes, which TF32 does not affect and a compiler fuses with the surrounding code.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_colorize.color.precision import full_precision

AB_SCALE = 110.0
"""LAB units of a and b that map to 1. In sRGB a lies in [-86.2, 98.2], b in [-107.9, 94.5]."""

WHITE = {torch.uint8: 255, torch.uint16: 65535}
"""The value of white, by dtype."""

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

# Below these values the curves are linear: sRGB's in sRGB and in linear RGB, LAB's in XYZ and in
# its root.
_SRGB_KNEE = 0.04045
_LINEAR_KNEE = 0.0031308
_XYZ_KNEE = 0.008856
_ROOT_KNEE = 0.2068966


def to_unit(rgb: Tensor) -> Tensor:
    """Return sRGB as fp32 in 0..1: the one place that divides by 255.

    Args:
        rgb: Any shape: uint8 in 0..255, uint16 in 0..65535, or floating point in 0..1.

    Raises:
        TypeError: For any other dtype (kornia returns wrong colors without an error).
    """
    if rgb.dtype in WHITE:
        return rgb.float() / WHITE[rgb.dtype]
    if rgb.is_floating_point():
        return rgb.float()
    raise TypeError(
        f"rgb must be uint8 (0..255), uint16 (0..65535) or floating point (0..1), not {rgb.dtype}"
    )


def to_eight_bits(values: Tensor) -> Tensor:
    """Convert 16-bit or 8-bit values of any shape to uint8."""
    return values if values.dtype == torch.uint8 else (values.float() / 257).round().byte()


def to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Convert RGB images to lightness and color.

    Args:
        rgb: sRGB, (B, 3, H, W): uint8 in 0..255, uint16 in 0..65535, or floating point in 0..1.

    Returns:
        L: (B, 1, H, W) in [0, 100] and ab: (B, 2, H, W) in LAB units, both fp32.

    Raises:
        TypeError: For any other dtype.
    """
    if kornia_converts(rgb.device):
        from kornia.color import rgb_to_lab  # slow import

        unit = to_unit(rgb)
        with full_precision(unit), _Constants():
            L, ab = rgb_to_lab(unit).tensor_split([1], dim=1)
        return L, ab
    linear = _to_linear(rgb).unbind(dim=1)
    x, y, z = (_xyz_to_root(plane) for plane in _product(_TO_XYZ, linear))
    L = 116.0 * y - 16.0
    return L.unsqueeze(1), torch.stack([500.0 * (x - y), 200.0 * (y - z)], dim=1)


def to_lightness(rgb: Tensor) -> Tensor:
    """Return only the L of `to_lab`, (B, 1, H, W), in less than half the time."""
    red, green, blue = _to_linear(rgb).unbind(dim=1)
    (luminance,) = _product(_TO_XYZ[1:2], (red, green, blue))
    return (116.0 * _xyz_to_root(luminance) - 16.0).unsqueeze(1)


def to_rgb(L: Tensor, ab: Tensor, *, clip: bool = True) -> Tensor:
    """Convert lightness and color to sRGB.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab: (B, 2, H, W) in LAB units.
        clip: Clip to 0..1. Disable it inside losses: clipping has no gradient.

    Returns:
        sRGB, (B, 3, H, W), fp32, in 0..1 if `clip`.
    """
    if kornia_converts(ab.device):
        from kornia.color import lab_to_rgb  # slow import

        L, ab = L.float(), ab.float()
        if L.requires_grad or ab.requires_grad:
            ab = _with_positive_z(L, ab)
        with full_precision(ab), _Constants():
            converted: Tensor = lab_to_rgb(torch.cat([L, ab], dim=1), clip=clip)
        return converted
    rgb = linear_to_srgb(to_linear_rgb(L, ab))
    return rgb.clamp(0.0, 1.0) if clip else rgb


def kornia_converts(device: torch.device) -> bool:
    """Return whether `to_lab` and `to_rgb` call kornia for tensors of a device."""
    # Tensors on `meta` have no values, and no autocast to disable.
    return device.type not in ("cpu", "meta") and not torch.compiler.is_compiling()


class _Constants(TorchFunctionMode):
    """Keeps the constants that kornia creates in every call.

    On a GPU each is a copy for which the host waits until all queued work is done.
    """

    created: ClassVar[dict[str, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.tensor:
            return func(*args, **(kwargs or {}))
        key = repr((args, kwargs))
        if key not in self.created:
            with torch.inference_mode(False):  # later calls have gradients
                self.created[key] = func(*args, **(kwargs or {}))
        return self.created[key]


def _with_positive_z(L: Tensor, ab: Tensor) -> Tensor:
    """Limit b where Z would be negative, keeping its gradient, which kornia's clamp cuts off."""
    a, b = ab.chunk(2, dim=1)
    # Stay slightly below the limit; otherwise rounding would decide whether the clamp is active.
    most = 200 * (L + 16) / 116 - 2e-4
    return torch.cat([a, b + (torch.minimum(b, most) - b).detach()], dim=1)


def to_grey(L: Tensor) -> Tensor:
    """Return grey sRGB, (B, 3, H, W), fp32, in 0..1, from L: (B, 1, H, W) in [0, 100]."""
    return to_rgb(L, torch.zeros_like(L).expand(-1, 2, -1, -1))


def to_linear_rgb(L: Tensor, ab: Tensor) -> Tensor:
    """Convert lightness and color to linear RGB, in a third of the time of `to_rgb`.

    L is (B, 1, H, W) in [0, 100], ab (B, 2, H, W) in LAB units. Returns (B, 3, H, W), fp32; colors
    outside sRGB are outside 0..1.
    """
    a, b = ab.float().unbind(dim=1)
    y = (L.float()[:, 0] + 16.0) / 116.0
    root_z = y - b / 200.0
    z = root_z.clamp(min=0.0)  # Z of an impossible color would be negative
    if root_z.requires_grad:
        z = root_z + (z - root_z).detach()  # its value, with the gradient of root_z
    xyz = [
        root.clamp(min=_ROOT_KNEE) ** 3 + (root.clamp(max=_ROOT_KNEE) - _ROOT_KNEE) / 7.787
        for root in (y + a / 500.0, y, z)
    ]
    return torch.stack(_product(_TO_LINEAR, xyz), dim=1)


def _product(matrix: _Matrix, planes: Sequence[Tensor]) -> list[Tensor]:
    """Return a matrix times three color planes, all of the same shape."""
    first, second, third = planes
    return [(row[0] * first).add(second, alpha=row[1]).add(third, alpha=row[2]) for row in matrix]


def _power(base: Tensor, exponent: float) -> Tensor:
    """Return a power of positive numbers, in half the time of `torch.pow` on a CPU."""
    return torch.exp2(torch.log2(base) * exponent)


def _to_linear(rgb: Tensor) -> Tensor:
    """Convert sRGB, as `to_lab` takes it, to linear RGB in 0..1."""
    if rgb.dtype == torch.uint8 and rgb.device.type == "cpu":
        return _LINEAR_TABLE.index_select(0, rgb.flatten().int()).view(rgb.shape)
    return _srgb_to_linear(to_unit(rgb))


def _srgb_to_linear(srgb: Tensor) -> Tensor:
    bright = _power((srgb.clamp(min=_SRGB_KNEE) + 0.055) / 1.055, 2.4)
    return bright + (srgb.clamp(max=_SRGB_KNEE) - _SRGB_KNEE) / 12.92


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Convert linear RGB of any shape to sRGB; the linear part of the curve continues below 0."""
    bright = 1.055 * _power(linear.clamp(min=_LINEAR_KNEE), 1 / 2.4) - 0.055
    return bright + 12.92 * (linear.clamp(max=_LINEAR_KNEE) - _LINEAR_KNEE)


def _xyz_to_root(xyz: Tensor) -> Tensor:
    bright = _power(xyz.clamp(min=_XYZ_KNEE), 1 / 3)
    return bright + 7.787 * (xyz.clamp(max=_XYZ_KNEE) - _XYZ_KNEE)


# On a CPU, looking up the 256 uint8 values takes a third of the time of the curve.
_LINEAR_TABLE = _srgb_to_linear(torch.arange(256, dtype=torch.float64) / 255).float()


class LabScaling(nn.Module):
    """Scales LAB units to [-1, 1] and back. The scale is part of the state dict.

    Args:
        ab_scale: LAB units of a and b that map to 1.
    """

    ab_scale: Tensor

    def __init__(self, ab_scale: float = AB_SCALE) -> None:
        super().__init__()
        self.register_buffer("ab_scale", torch.tensor(float(ab_scale)))

    def normalize_L(self, L: Tensor) -> Tensor:
        """Map L in [0, 100] to [-1, 1]."""
        return L / 50.0 - 1.0

    def normalize_ab(self, ab: Tensor) -> Tensor:
        """Map ab in LAB units to [-1, 1]."""
        return ab / self.ab_scale

    def restore_ab(self, ab: Tensor) -> Tensor:
        """Map ab in [-1, 1] to LAB units, in fp32."""
        return ab.float() * self.ab_scale
