"""The former name of `UpsampleDecoder` with pixel shuffles."""

from typing import Any

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.upsample import Mode, UpsampleDecoder


class PixelShuffleDecoder(UpsampleDecoder):
    """`UpsampleDecoder` with pixel shuffles, for older checkpoints and configurations.

    Args:
        info: Channels and reductions of the encoder's levels.
        widths: Channels after each step of 2, coarsest first; null: half of the previous step's,
            starting from the encoder's, but at least 32.
        convs: Number of convolutions after each doubling, for all steps or per step.
        blur: Use `mode: blurred_pixel_shuffle` instead of `pixel_shuffle`.
        kwargs: The other arguments of `UpsampleDecoder`.
    """

    def __init__(
        self,
        info: FeatureInfo,
        widths: list[int] | None = None,
        convs: int | list[int] = 1,
        blur: bool = False,
        **kwargs: Any,
    ) -> None:
        mode: Mode = "blurred_pixel_shuffle" if blur else "pixel_shuffle"
        super().__init__(info, widths, convs, mode=mode, **kwargs)
