"""The settings of models: how predictions are turned into colors, without retraining.

Each field is an option of the commands, an axis of `tune-decoding`, a control of the demo, an
argument in Python, and a value stored in checkpoints. To add a setting, add a field and apply it in
the model's `colors`; a setting of all models is applied in `Model.combine`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from lightning_colorize.common.described import first_problem
from lightning_colorize.common.errors import UsageError

LARGEST = 2**14
"""Largest side of an input in pixels."""


class Settings(BaseModel):
    """The settings that all models have.

    A field has a type, a default, a description (the text below it) and, for a number, its range
    (`ge`, `le`). With a range and a `step` in `json_schema_extra`, the demo shows a slider.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    strength: Annotated[float, Field(ge=0, le=1.5, json_schema_extra={"step": 0.05})] = 1.0
    """factor of the predicted colors, from 0 (grey) to 1.5"""
    flip: bool = False
    """average the colors with the mirror image's; takes twice as long"""

    def updated(self, values: Mapping[str, Any]) -> Self:
        """Return the settings with other values, which may be text; None keeps the current value.

        Raises:
            UsageError: If there is no such setting, or a value is not valid.
        """
        given = {name: value for name, value in values.items() if value is not None}
        for name in given:
            if name not in type(self).model_fields:
                raise UsageError(f"no setting {name}; this model has {', '.join(self.names())}")
        try:
            return type(self).model_validate({**dict(self), **given})
        except ValidationError as error:
            raise UsageError(_problem(type(self), error)) from None

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the settings, with the ones common to all models last."""
        return sorted(cls.model_fields, key=lambda name: name in Settings.model_fields)

    @classmethod
    def sliders(cls) -> dict[str, list[Any]]:
        """Return lowest value, highest value and step of the settings that have all three."""
        found: dict[str, list[Any]] = {}
        for name in cls.names():
            field = cls.model_fields[name]
            extra, limits = field.json_schema_extra, _limits(field)
            if isinstance(extra, dict) and "step" in extra and len(limits) == 2:
                found[name] = [*limits, extra["step"]]
        return found

    def values(self) -> dict[str, Any]:
        """Return the value of each setting, in the order of `names`."""
        return {name: getattr(self, name) for name in self.names()}

    def __str__(self) -> str:
        return describe_values(self.values())


class ClassificationSettings(Settings):
    """The settings of a network with a `ClassificationHead`."""

    vividness: Annotated[float, Field(ge=0, le=1, json_schema_extra={"step": 0.05})] = 0.5
    """share of the class weights that decoding keeps: 0 is faithful and pale, 1 is colorful and
    often wrong"""
    temperature: Annotated[float, Field(ge=1e-3, le=1e3)] = 0.38
    """temperature of the annealed mean: 1 for the mean of the distribution, towards 0 for its
    mode"""


def describe_values(values: Mapping[str, Any]) -> str:
    """Return settings in one line, such as `strength 1.4, flip 1`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items())


def format_value(value: Any) -> str:
    """Return the value of a setting as text, with numbers as short as possible."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _limits(field: FieldInfo) -> list[float]:
    """Return the lowest and the highest value of a number; empty without a range."""
    return [
        getattr(limit, key)
        for key in ("ge", "le")
        for limit in field.metadata
        if hasattr(limit, key)
    ]


def _problem(settings: type[Settings], error: ValidationError) -> str:
    """Return the first problem in one line, with the range of the setting."""
    details = error.errors()[0]
    if not details["loc"]:  # from a validator of several settings
        return first_problem(error)
    name = str(details["loc"][0])
    field = settings.model_fields[name]
    limits = _limits(field)
    if field.annotation is bool:
        accepted = "must be true or false"
    elif len(limits) == 2:
        accepted = "must be from {:g} to {:g}".format(*limits)
    else:
        accepted = str(details["msg"]).replace("Input should", "must")
    return f"{name} {accepted}, not {details['input']}"
