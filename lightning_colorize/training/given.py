"""What a user gave for a key: on the command line, or in which configuration file."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.training.cli import base_config


class Given(NamedTuple):
    """A value and where it stands.

    Attributes:
        value: As typed on the command line, or as YAML reads it; None where it is not found.
        place: The key as the user knows it: `--data.size`, or `data.size in my.yaml`.
    """

    value: Any
    place: str


def plain(key: str) -> list[str]:
    """Return the parts of a key without the `init_args` that may be left out."""
    return [part for part in key.split(".") if part != "init_args"]


def config_files(words: list[str]) -> list[Path]:
    """Return the configuration files of a command line, the last one first, `base.yaml` last."""
    given_files = [value for key, value in options(words) if key in ("config", "c")]
    files = [expanded_path(value) for value in given_files if value is not None]
    return [*reversed(files), base_config(words)]


def options(words: list[str]) -> list[tuple[str, str | None]]:
    """Return the keys and values of a command line; the value is None where there is none."""
    pairs: list[tuple[str, str | None]] = []
    for word, following in zip(words, [*words, None][1:], strict=True):
        if word.startswith("-"):
            key, equals, value = word.lstrip("-").partition("=")
            pairs.append((key, value if equals else following))
    return pairs


def settings(words: list[str]) -> list[tuple[list[str], Given]]:
    """Return all that was given, the command line before the files, the last word first."""
    found = [
        (plain(key), Given(value, f"--{'.'.join(plain(key))}"))
        for key, value in reversed(options(words))
        if key not in ("config", "c")
    ]
    for file in config_files(words):
        for parts, value in _leaves(read(file), []):
            found.append((parts, Given(value, f"{'.'.join(parts)} in {file}")))
    return found


def given(words: list[str], parts: list[str]) -> Given:
    """Return what was given for a key; for a class its `class_path`."""
    for key, found in settings(words):
        if key == parts:
            value = found.value
            named = isinstance(value, dict) and "class_path" in value
            return found._replace(value=value["class_path"]) if named else found
    return Given(None, f"--{'.'.join(parts)}")


def read(file: Path) -> Any:
    """Return a YAML file's content; None where it cannot be read."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _leaves(value: Any, parts: list[str]) -> list[tuple[list[str], Any]]:
    """Return a mapping and all that is below it, each with its key."""
    leaves = [(parts, value)] if parts and parts[-1] != "init_args" else []
    if isinstance(value, dict):
        for name, inner in value.items():
            inside = parts[:-1] if parts and parts[-1] == "init_args" else parts
            leaves += _leaves(inner, [*inside, str(name)])
    return leaves
