"""Bad input to `fit` in at most three lines: the key and its value, what is accepted.

jsonargparse reports an error once per enclosing key, the innermost last. The names that are
accepted come from the signatures.
"""

import difflib
import inspect
import pydoc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.options import RunOptions

_SECTIONS = {
    "trainer": Trainer,
    "data": ColorizationDataModule,
    "run": RunOptions,
    "model": ColorizationTask,
    "seed_everything": int,
}
_RENAMED = {"run.go_on": "run.auto_resume", "run.grid_pictures": "run.grid_images"}
_UNKNOWN = re.compile(
    r"unrecognized arguments: --([^\s=]+)|Group '(.*)' does not accept option '(.*)'|"
    r"Option '(.*)' is not accepted"
)
_VALUE = re.compile(
    r"Expected a path but (.*) either|does not exist: '(.*)'|given class_path '(.*)'|"
    r"(?:Got|Given) value: (.*)"
)
_NAMES = {type(None): ["null"], bool: ["true", "false"], int: ["an integer"], float: ["a number"]}
_WIDTH = 300  # characters of a line; `fit --help all` has long lists in full


@contextmanager
def explained(prefix: str = "") -> Iterator[None]:
    """Turn errors about the user's input into a UsageError.

    Raises:
        UsageError: In place of an error that the user can correct.
    """
    try:
        yield
    except Exception as error:
        if not is_bad_input(error):
            raise
        raise UsageError(f"{prefix}{explain(error)}") from None


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


def explain(error: BaseException) -> str:
    """Return what is wrong, in at most three lines."""
    error = _cause(error)
    if isinstance(error, UsageError):
        return str(error)
    if not isinstance(error, ArgumentError):
        return " ".join(str(error).split())
    lines = _parsing(str(error))[:3]
    return "\n".join(line if len(line) <= _WIDTH else f"{line[:_WIDTH]} ..." for line in lines)


def _cause(error: BaseException) -> BaseException:
    """Return what a constructor raised; jsonargparse wraps it in an account of all types."""
    while str(error).startswith("Does not validate") and error.__cause__ is not None:
        error = error.__cause__
    return error


def _parsing(text: str) -> list[str]:
    """Explain the parser's error."""
    _, *reports = re.split(r'Parser key "([^"]+)":', text)
    fault = reports[-1] if reports else text
    classes = re.findall(r"(?:given class_path |Got value: Namespace\(class_path=)'(.+?)'", text)
    # "run" fails at its own level and again one above.
    names = list(dict.fromkeys(reports[::2]))
    if unknown := _UNKNOWN.search(fault):
        key = re.sub(r"\.(init_args|class_path)\b", "", ".".join([*names, *_groups(unknown)]))
        if key in _RENAMED:
            return [f"--{key}: an old name", f"use --{_RENAMED[key]}"]
        known, _, options = _follow(key, classes)
        word, *rest = key.removeprefix(f"{known}.").split(".")
        form = ".".join(filter(None, [known, "{}", *rest]))
        fault = f"--{key}: {known or 'the configuration'} has no '{word}'"
        return _refusal(fault, list(options) or ["no options"], word, form)
    key = ".".join(names)
    if missing := re.search(r"arguments are required: (\w+)", fault):
        if not key:
            return ["there is no model: name an experiment (--config experiments/quickstart.yaml)"]
        accepted = _accepted(_follow(f"{key}.{missing[1]}", classes)[1])
        return _refusal(f"--{key} needs {missing[1]}", accepted)
    if not key:
        return [line.strip() for line in text.splitlines() if line.strip()]
    accepted = _accepted(_follow(key, classes)[1])
    if "is abstract" in fault:
        return _refusal(f"--{key} needs a class and its init_args", accepted)
    found = _VALUE.search(fault)
    if found is None:
        return [f"--{key}: {fault.strip().splitlines()[0]}"]
    (value,) = _groups(found)
    if absent := re.search(r"No module named '[^']+'", fault):
        accepted.append("a class that is installed or on PYTHONPATH")
        return _refusal(f"--{key}: {value!r} cannot be imported: {absent[0]}", accepted)
    if value.endswith((".yaml", ".yml")):
        files = sorted(map(str, Path(value).parent.glob("*.yaml")))
        accepted += files or ["a YAML file; `lightning-colorize init .` creates experiments/"]
        return _refusal(f"--{key}: {value!r} does not exist", accepted, value)
    return _refusal(f"--{key}: {value!r} is not accepted", accepted, value.rpartition(".")[2])


def _groups(match: re.Match[str]) -> list[str]:
    return [group for group in match.groups() if group is not None]


def _refusal(fault: str, accepted: list[str], word: str = "", form: str = "{}") -> list[str]:
    """Return the lines: key and fault, what is accepted, what was probably meant in that form."""
    lines = [fault, *([f"accepted: {', '.join(accepted)}"] if accepted else [])]
    by_lower = {name.lower(): name for name in accepted}
    if close := difflib.get_close_matches(word.lower(), by_lower, n=1):
        lines.append(f"did you mean {form.format(by_lower[close[0]])}?")
    return lines


def _follow(key: str, classes: list[str]) -> tuple[str, Any, dict[str, Any]]:
    """Follow a key through the signatures.

    Args:
        key: Without `init_args`: `model.encoder.depth`.
        classes: Class paths chosen on the way.

    Returns:
        The part of the key that is known, its type, and the options of what it describes.
    """
    chosen = [cls for cls in map(pydoc.locate, classes) if isinstance(cls, type)]
    known: list[str] = []
    hint, options = None, dict[str, Any](_SECTIONS)
    for part in key.split("."):
        if part not in options:
            break
        known.append(part)
        hint = options[part]
        bases = tuple(base for base in _types(hint) if inspect.isclass(base))
        owner = next((cls for cls in chosen if issubclass(cls, bases)), hint)
        options = _options(owner)
    return ".".join(known), hint, options


def _options(cls: Any) -> dict[str, Any]:
    """Return the options of a class with their types, without the first if tasks pass it."""
    if not inspect.isclass(cls) or cls in _NAMES or inspect.isabstract(cls):
        return {}
    names = [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
    if names and names[0] in ("info", "in_channels", "params", "optimizer"):
        del names[0]
    hints = get_type_hints(cls.__init__)
    return {name: hints.get(name) for name in names}


def _types(hint: Any) -> list[Any]:
    """Return the members of a union; for a factory, what it makes."""
    if get_origin(hint) in (Union, UnionType):
        return [inner for part in get_args(hint) for inner in _types(part)]
    return _types(get_args(hint)[1]) if get_origin(hint) is Callable else [hint]


def _accepted(hint: Any) -> list[str]:
    """Return what a type accepts: choices, class names, else the type's name."""
    names: list[str] = []
    for kind in _types(hint):
        if get_origin(kind) is Literal:
            names += map(str, get_args(kind))
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
        cls.__name__
        for cls in set(found[1:])
        # Lightning wraps optimizers in classes of its own: LightningAdam.
        if cls.__module__.startswith(packages)
        and not cls.__name__.startswith(("_", "Lightning"))
        and not inspect.isabstract(cls)
    )
