"""YAML files with the schema of a pydantic model."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.mappings import read_mapping

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

_Model = TypeVar("_Model", bound=BaseModel)


def read_described(file: Path, model: type[_Model], **more: Any) -> _Model:
    """Read a YAML file into a pydantic model.

    `more` are the values of additional keys, which the file must not contain.
    """
    content = read_mapping(file, next(key for key in model.model_fields if key not in more))
    if own := more.keys() & content.keys():
        raise UsageError(f"{file}: {own.pop()} is not a key of the file")
    try:
        return model.model_validate(content | more)
    except ValidationError as error:
        raise UsageError(f"{file}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """Return the first problem in one line, with its key."""
    details = error.errors()[0]
    key = ".".join(map(str, details["loc"]))
    text = details["msg"].removeprefix("Value error, ")
    return f"{key}: {text}" if key else text
