"""Bad input to `fit` in at most three lines: the key and value given, what is accepted.

jsonargparse names the key and the chosen classes over a dozen lines. What is accepted comes from
the signatures, the value and its file from what the user gave.
"""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.runs.folder import flatten
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.cli import base_config
from lightning_colorize.training.options import RunOptions

_ROOTS = {
    "trainer": Trainer,
    "data": ColorizationDataModule,
    "run": RunOptions,
    "model": ColorizationTask,
    "seed_everything": int,
}
_RENAMED = {"run.go_on": "run.auto_resume", "run.grid_pictures": "run.grid_images"}
_NAMES = {type(None): ["null"], bool: ["true", "false"], int: ["an integer"], float: ["a number"]}
_WIDTH = 300  # characters of a line; `fit --help all` has long lists in full


class Given(NamedTuple):
    """A value and where the user gave it: `--data.size`, or `data.size in my.yaml`."""

    value: Any
    place: str


def given(words: Sequence[str]) -> dict[str, Given]:
    """Return what configuration files and the command line set, by key without `init_args`.

    Raises:
        UsageError: If a configuration file is missing or is not a YAML mapping.
    """
    options: dict[str, Given] = {}
    files = [base_config(list(words))]
    for word, following in zip(words, [*words[1:], None], strict=False):
        key, equals, value = word.lstrip("-").partition("=")
        set_to = value if equals else following
        if key in ("config", "c") and set_to is not None:
            files.append(expanded_path(set_to))
        elif word.startswith("--"):
            options[_plain(key)] = Given(set_to, f"--{_plain(key)}")
    values: dict[str, Given] = {}
    for file in files:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            there = sorted(map(str, file.parent.glob("*.yaml")))
            there = there or ["a YAML file; `lightning-colorize init .` creates experiments/"]
            mark = getattr(error, "problem_mark", None)
            if mark is not None:
                there = [f"YAML; see line {mark.line + 1}, column {mark.column + 1}"]
            fault = f"--config {file}: {getattr(error, 'strerror', None) or 'it is not YAML'}"
            raise UsageError(_joined(_refusal(fault, there, str(file)))) from None
        if not isinstance(content, dict):
            raise UsageError(f"--config {file}: not a mapping\naccepted: {', '.join(_ROOTS)}")
        for name, leaf in flatten(content).items():
            key = _plain(name)
            if key not in values or name.endswith(".class_path") or not isinstance(leaf, dict):
                values[key] = Given(leaf, f"{key} in {file}")
    return values | options


@contextmanager
def explained(words: list[str], prefix: str = "") -> Iterator[None]:
    """Turn errors about the user's input into a UsageError.

    Raises:
        UsageError: In place of an error that the user can correct.
    """
    try:
        yield
    except Exception as error:
        if not is_bad_input(error):
            raise
        raise UsageError(f"{prefix}{explain(error, words)}") from None


def is_bad_input(error: BaseException) -> bool:
    """Return whether the user can correct an error that is raised while a run is set up.

    A TypeError is one only if Lightning raises it about its own arguments. Elsewhere it is a bug,
    perhaps in the user's own encoder, and needs its traceback.
    """
    error = _cause(error)
    if isinstance(error, TypeError) and error.__traceback__ is not None:
        frame = inspect.getinnerframes(error.__traceback__)[-1].frame
        module: str = frame.f_globals["__name__"]
        return module.startswith(("pytorch_lightning", "lightning_fabric"))
    return isinstance(error, (ArgumentError, MisconfigurationException, ValueError))


def explain(error: BaseException, words: list[str]) -> str:
    """Return what is wrong, in at most three lines."""
    error = _cause(error)
    if isinstance(error, UsageError):
        return str(error)
    try:
        values = given(words)
    except UsageError as bad_file:
        return str(bad_file)
    if isinstance(error, ArgumentError):
        return _joined(_parsing(str(error), values))
    return _joined(_building(" ".join(str(error).split()), values))


def _joined(lines: list[str]) -> str:
    return "\n".join(line if len(line) <= _WIDTH else f"{line[:_WIDTH]} ..." for line in lines[:3])


def _plain(key: str) -> str:
    return re.sub(r"\.(init_args|class_path$)(?![^.])", "", key)


def _cause(error: BaseException) -> BaseException:
    """Return what a constructor raised; jsonargparse wraps it in an account of all types."""
    while str(error).startswith("Does not validate") and error.__cause__ is not None:
        error = error.__cause__
    return error


def _building(text: str, values: dict[str, Given]) -> list[str]:
    """Explain a constructor's error, which begins with an argument or repeats a value."""
    for pattern in (r"`?(\w+\()?{name}\b", r".*'{value}'", r".*(`|\b){name}(`|=|:| is | has )"):
        for key, found in reversed(values.items()):
            name, value = re.escape(key.rpartition(".")[2]), re.escape(str(found.value))
            known = found.value is not None and key.partition(".")[0] in _ROOTS
            if known and re.match(pattern.format(name=name, value=value), text):
                return [f"{found.place}: {found.value!r} does not work here", text]
    return [text]


def _parsing(text: str, values: dict[str, Given]) -> list[str]:
    """Explain the parser's error."""
    if match := re.search(r"argument (?:-c/)?--(\S+): expected one argument", text):
        return _refusal(f"--{match[1]}: no value is given", _accepted(_walk(match[1], [])[0]))
    if match := re.search(r"unrecognized arguments: ([^-\s]\S*)", text):
        return [f"'{match[1]}' is not accepted: settings are given as --KEY VALUE"]
    # "run" fails at its own level and again one above.
    keys = dict.fromkeys(re.findall(r'Parser key "([^"]+)"', text))
    unknown = re.search(
        r"unrecognized arguments: --([^\s=]+)|Group '(.*)' does not accept option '(.*)'|"
        r"Option '(.*)' is not accepted",
        text,
    )
    key = _plain(".".join([*keys, *(filter(None, unknown.groups()) if unknown else ())]))
    classes = re.findall(r"(?:given class_path |Got value: Namespace\(class_path=)'(.+?)'", text)
    hint, known, options = _walk(key, classes)
    found = values.get(key, Given(None, f"--{key}"))
    value, place = found.value, found.place
    if key in _RENAMED:
        return [f"{place}: {value!r} is set by an old name", f"use --{_RENAMED[key]}"]
    if unknown:
        word, *rest = key.removeprefix(f"{known}.").split(".")
        fault = f"{place}: {known or 'the configuration'} has no '{word}' (given: {value!r})"
        form = ".".join(filter(None, [known, "{}", *rest]))
        return _refusal(fault, options or ["no options"], word, form)
    if match := re.search(r"arguments are required: ([\w, ]+)", text):
        if not key:
            return ["there is no model: name an experiment (--config experiments/quickstart.yaml)"]
        names = match[1].strip()
        hint, _, _ = _walk(f"{key}.{names.split(', ')[0]}", classes)
        return _refusal(f"{place}: {value!r} needs {names}", _accepted(hint))
    if "is abstract" in text and value is None:
        place = next((v.place for k, v in values.items() if k.startswith(f"{key}.")), place)
        return _refusal(f"{place}: no class is chosen for {key}", _accepted(hint))
    if "is abstract" in text:
        return _refusal(f"{place}: {value!r} is not followed by init_args", ["init_args"])
    if not key:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if match := re.search(r"No module named '[^']+'", text):
        fault = f"{place}: {value!r} cannot be imported: {match[0]}"
        return _refusal(fault, [*_accepted(hint), "a class that is installed or on PYTHONPATH"])
    fragments = sorted(map(str, Path(value).parent.glob("*.yaml"))) if _is_yaml(value) else []
    fault = f"{place}: {value!r} {'does not exist' if fragments else 'is not accepted'}"
    return _refusal(fault, [*_accepted(hint), *fragments], str(value))


def _refusal(fault: str, accepted: Sequence[str], word: str = "", form: str = "{}") -> list[str]:
    """Return the lines: key and fault, what is accepted, what was probably meant in that form."""
    lines = [fault, *([f"accepted: {', '.join(accepted)}"] if accepted else [])]
    by_lower = {name.lower(): name for name in accepted}
    last = word if _is_yaml(word) else word.rpartition(".")[2]
    if word == "null":
        # jsonargparse takes it for text.
        lines.append("so deep a key takes null only from a file: a fragment or a second --config")
    elif close := difflib.get_close_matches(last.lower(), by_lower, n=1):
        lines.append(f"did you mean {form.format(by_lower[close[0]])}?")
    return lines


def _is_yaml(value: Any) -> bool:
    return str(value).endswith((".yaml", ".yml"))


def _walk(key: str, classes: list[str]) -> tuple[Any, str, list[str]]:
    """Follow a key through the signatures.

    Args:
        key: Without `init_args`: `model.encoder.depth`.
        classes: Class paths chosen on the way.

    Returns:
        The key's type, None if it is unknown; the part of the key that is known; the options of
        what that part describes.
    """
    chosen = [cls for cls in map(_find, classes) if inspect.isclass(cls)]
    known: list[str] = []
    hint, hints = None, _ROOTS
    for part in key.split("."):
        if part not in hints:
            return None, ".".join(known), list(hints)
        known.append(part)
        hint = hints[part]
        bases = tuple(base for base in _types(hint) if inspect.isclass(base))
        owner = next((cls for cls in chosen if issubclass(cls, bases)), hint)
        hints = _options(owner) if inspect.isclass(owner) else {}
    return hint, key, list(hints)


def _find(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _options(cls: type) -> dict[str, Any]:
    """Return the options of a class with their types, without the first if tasks pass it."""
    if cls in _NAMES or inspect.isabstract(cls):
        return {}
    names = [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
    if names and names[0] in ("info", "in_channels", "params", "optimizer"):
        del names[0]
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    return {name: hints.get(name) for name in names}


def _types(hint: Any) -> list[Any]:
    """Return the members of a union; for a factory, what it makes."""
    if get_origin(hint) in (Union, UnionType):
        return [inner for part in get_args(hint) for inner in _types(part)]
    return _types(get_args(hint)[1]) if get_origin(hint) is Callable else [hint]


def _accepted(hint: Any) -> list[str]:
    """Return what a type accepts: choices, class names, a group's options, else its name."""
    names: list[str] = []
    for kind in _types(hint):
        if get_origin(kind) is Literal:
            names += map(str, get_args(kind))
        elif dataclasses.is_dataclass(kind) or kind in (Trainer, ColorizationDataModule):
            names += _options(kind)
        elif inspect.isclass(kind) and get_origin(kind) is None and kind.__module__ != "builtins":
            names += _class_names(kind)
        elif kind is not None:
            names += _NAMES.get(kind, [re.sub(r"<class '(\w+)'>", r"\1", str(kind))])
    return list(dict.fromkeys(names))


def _class_names(base: type) -> list[str]:
    """Return the concrete classes that a configuration can name for a base class."""
    found = [base]
    for cls in found:
        found += cls.__subclasses__()
    packages = ("lightning_colorize.", "torch.optim", "pytorch_lightning.")
    return sorted(
        {
            cls.__name__
            for cls in found
            if cls.__module__.startswith(packages)
            and not inspect.isabstract(cls)
            # Lightning wraps optimizers in classes of its own: LightningAdam.
            and not cls.__name__.startswith(("_", "Lightning"))
            and not (cls is base and cls.__subclasses__())
        }
    )
