"""Old paper: each image has one tone, drawn at random, and a setting from sepia to blue."""

from typing import Annotated

import torch
from pydantic import Field

from lightning_colorize.models.base import Model
from lightning_colorize.models.settings import Settings


class PaperSettings(Settings):
    """The settings of `Paper`."""

    temperature: Annotated[float, Field(ge=-30, le=30, json_schema_extra={"step": 1})] = 15.0
    """mean of b in LAB units, negative for blue"""


class Paper(Model):
    """One tone for the whole image, drawn anew for each coloring."""

    draws = True
    settings = PaperSettings()
    size = 48

    def predict(self, L, condition):
        """Return how far L is from black and white."""
        return (L * (100 - L)).sqrt() / 50

    def colors(self, prediction, settings, n=1, generators=()):
        """Return n tones of each image."""
        drawn = [torch.randn(n, 2, 1, 1, generator=generator) * 5 for generator in generators]
        tone = torch.stack(drawn, dim=1) + torch.tensor([2, settings.temperature]).view(2, 1, 1)
        return tone.to(prediction) * prediction
