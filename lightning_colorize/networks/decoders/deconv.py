"""The former name of `UpsampleDecoder` with transposed convolutions."""

from typing import Any

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.upsample import UpsampleDecoder


class DeconvDecoder(UpsampleDecoder):
    """`UpsampleDecoder` with `mode: transposed`, for older checkpoints and configurations."""

    def __init__(self, info: FeatureInfo, *, convs: int | list[int] = 0, **options: Any) -> None:
        super().__init__(info, convs=convs, mode="transposed", **options)
