"""The former name of `UpsampleDecoder` with pixel shuffles."""

from typing import Any

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.upsample import Mode, UpsampleDecoder


class PixelShuffleDecoder(UpsampleDecoder):
    """`UpsampleDecoder` with pixel shuffles, for older checkpoints and configurations."""

    def __init__(self, info: FeatureInfo, *, blur: bool = False, **options: Any) -> None:
        mode: Mode = "blurred_pixel_shuffle" if blur else "pixel_shuffle"
        super().__init__(info, mode=mode, **options)
