"""The former name of `UpsampleDecoder` with transposed convolutions."""

from typing import Any

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.upsample import UpsampleDecoder


class DeconvDecoder(UpsampleDecoder):
    """`UpsampleDecoder` with `mode: transposed`, for older checkpoints and configurations.

    Args:
        info: Channels and reductions of the encoder's levels.
        widths: Channels after each step of 2, coarsest first; null: half of the previous step's,
            starting from the encoder's, but at least 32.
        convs: Number of convolutions after each doubling, for all steps or per step.
        kwargs: The other arguments of `UpsampleDecoder`.
    """

    def __init__(
        self,
        info: FeatureInfo,
        widths: list[int] | None = None,
        convs: int | list[int] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(info, widths, convs, mode="transposed", **kwargs)
