"""Metrics of pretrained networks, as part of a protocol result."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, FiniteFloat, model_validator

from lightning_colorize.common.described import Sha256

_Name = Annotated[str, Field(max_length=200)]


class PretrainedValue(BaseModel):
    """A metric over images."""

    value: FiniteFloat
    low: FiniteFloat | None = None  # Bounds of the 95 % interval; None for a distance between sets.
    high: FiniteFloat | None = None
    # An estimate for infinitely many images; None for a mean over images.
    infinite: FiniteFloat | None = None


class PretrainedResult(BaseModel):
    """A metric of a pretrained network."""

    name: _Name  # Name on the command line, without the weights.
    title: Annotated[str, Field(max_length=1000)]  # Metric, network, input.
    goal: Literal["max", "min"]
    method: Annotated[str, Field(max_length=1000)]  # Estimates and intervals.
    sha256: Sha256 | None = None  # SHA-256 of the weights file.
    images: Annotated[int, Field(ge=1)] | None = None
    rows: dict[str, PretrainedValue] = {}
    # Why the metric is not available; it then has no rows.
    reason: Annotated[str, Field(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.rows and (self.sha256 is None or self.images is None):
            raise ValueError("rows need sha256 and images")
        return self

    @property
    def network(self) -> tuple[str, str, str | None]:
        """Key that must be equal for values to be comparable."""
        return self.name, self.title, self.sha256

    @property
    def label(self) -> str:
        """The name with the hash of the weights, so that two networks never share a column."""
        return self.name if self.sha256 is None else f"{self.name} {self.sha256[:8]}"
