"""Networks that sample colors, as models."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from lightning_colorize.color import Condition
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.models.settings import Settings
from lightning_colorize.networks.generative import Encoded, GenerativeNetwork
from lightning_colorize.networks.network import pad_input, round_up

_MOST = 32  # samples at once: more need memory and save no time


class GenerativeSettings(Settings):
    """The settings of a network that samples colors."""

    variety: Annotated[float, Field(ge=0, le=1, json_schema_extra={"step": 0.05})] = 1.0
    """from 0 (the mean of all colorings) to 1 (a full sample)"""
    steps: Annotated[int, Field(ge=1, le=100)] = 8
    """steps of a sample; more take longer"""
    guidance: Annotated[float, Field(ge=1, le=5, json_schema_extra={"step": 0.1})] = 1.0
    """how closely samples follow the image and its conditions; above 1 takes twice as long"""


class Generated(NamedTuple):
    """The encoded images, with height and width of the input."""

    encoded: Encoded
    size: torch.Size


class GenerativeModel(NetworkModel):
    """A `GenerativeNetwork`, which has many colorings per image."""

    draws = True
    network: GenerativeNetwork

    def __init__(self, network: GenerativeNetwork, *args: Any) -> None:
        super().__init__(network, *args)
        self.settings = GenerativeSettings()

    def predict(self, L: Tensor, condition: Condition) -> Generated:  # type: ignore[override]
        """Return what all samples share."""
        with self._precision(L):
            encoded = self.network.encode(self._normalized(L), condition)
            return Generated(encoded, L.shape[-2:])

    def views(self, L: Tensor, condition: Condition, flip: bool) -> list[Generated]:  # type: ignore[override]
        """Return what all samples share; with `flip`, the mean of the mirror image contributes."""
        own = self.predict(L, condition)
        if not flip:
            return [own]
        # The mirror image of the padded image: the network would pad it at the other edge.
        height, width = (round_up(side, self.multiple) for side in L.shape[-2:])
        if condition.hints is not None:
            condition = condition._replace(hints=pad_input(condition.hints, height, width))
        mirrored = pad_input(L, height, width).flip(-1)
        other = self.predict(mirrored, condition.mirrored()).encoded
        mean, spread = (
            (a + b.flip(-1)) / 2
            for a, b in ((own.encoded.mean, other.mean), (own.encoded.spread, other.spread))
        )
        return [own._replace(encoded=own.encoded._replace(mean=mean, spread=spread))]

    def colors(  # type: ignore[override]
        self,
        prediction: Generated,
        settings: Settings,
        n: int = 1,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Return n samples for each image; their mean alone if `variety` is 0."""
        assert isinstance(settings, GenerativeSettings)
        encoded, size = prediction
        shape = encoded.mean.shape[1:]
        if settings.variety == 0:
            residual = encoded.mean.new_zeros(n, *encoded.mean.shape)
        else:
            # One by one, so that n samples equal the first of more.
            drawn = [[torch.randn(shape, generator=g) for g in generators] for _ in range(n)]
            noise = torch.stack([torch.stack(each) for each in drawn]).to(encoded.mean.device)
            chunks = torch.split(noise, max(1, _MOST // noise.shape[1]))
            how = (settings.steps, settings.guidance)
            with self._precision(noise):
                sampled = torch.cat([self.network.sample(encoded, chunk, *how) for chunk in chunks])
            residual = sampled * settings.variety
        return self.scaling.restore_ab(self.network.to_colors(encoded, residual, size))
