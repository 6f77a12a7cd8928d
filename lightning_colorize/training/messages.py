"""Bad input to `fit` in at most three lines: the key, its value and the accepted values.

jsonargparse has one class for all its errors: the key, the value and what is wrong are only in the
text, once per enclosing key, the innermost last. The accepted names come from the signatures.
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
from lightning_colorize.training.options import LoggerOptions, RunOptions

_SECTIONS: dict[str, type] = {
    "trainer": Trainer,
    "data": ColorizationDataModule,
    "run": RunOptions,
    "model": ColorizationTask,
    "run.loggers": LoggerOptions,
}
_UNKNOWN = re.compile(
    r"unrecognized arguments: --([^\s=]+)|Group '(.*)' does not accept option '(.*)'|"
    r"Option '(.*)' is not accepted"
)
_VALUE = re.compile(
    r"Expected a path but (.*) either|does not exist: '(.*)'|given class_path '(.*)'|"
    r"(?:Got|Given) value: (.*)"
)
_WIDTH = 300  # characters of a line; `fit --help all` has long lists in full


@contextmanager
def explained(prefix: str = "") -> Iterator[None]:
    """Turn errors about the user's input into a UsageError.

    A TypeError is not converted: it is a bug, perhaps in the user's own encoder, and needs its
    traceback.
    """
    try:
        yield
    except (ArgumentError, MisconfigurationException, ValueError) as error:
        if not isinstance(_cause(error), (ArgumentError, MisconfigurationException, ValueError)):
            raise
        raise UsageError(f"{prefix}{explain(error)}") from None


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
    """Return what a constructor raised; jsonargparse wraps it in a ValueError about all types."""
    while str(error).startswith("Does not validate") and error.__cause__ is not None:
        error = error.__cause__
    return error


def _parsing(text: str) -> list[str]:
    _, *reports = re.split(r'Parser key "([^"]+)":', text)
    fault = reports[-1] if reports else text
    paths = re.findall(r"(?:given class_path |Got value: Namespace\(class_path=)'(.+?)'", text)
    classes = [cls for cls in map(pydoc.locate, paths) if isinstance(cls, type)]
    # "run" fails at its own level and again one above.
    names = list(dict.fromkeys(reports[::2]))
    if unknown := _UNKNOWN.search(fault):
        key = ".".join([*names, *filter(None, unknown.groups())])
        key = re.sub(r"\.(init_args|class_path)\b", "", key)
        known = ".".join(names) or _section(key)
        word, *rest = key.removeprefix(f"{known}.").split(".")
        fault = f"--{key}: {known or 'the configuration'} has no '{word}'"
        owner = classes[-1] if classes else _SECTIONS.get(known)
        options = _options(owner) if known else _SECTIONS
        form = ".".join(filter(None, [known, "{}", *rest]))
        return _refusal(fault, list(options) or ["no options"], word, form)
    key = ".".join(names)
    if missing := re.search(r"arguments are required: (.*)", fault):
        if key:
            return [f"--{key} needs {missing[1]}"]
        return ["there is no model: name an experiment (--config experiments/quickstart.yaml)"]
    found = _VALUE.search(fault)
    if not key or found is None:
        lines = [line.strip() for line in fault.splitlines() if line.strip()]
        if "codec can't decode" in fault:
            return [f"--{key} names a file that is not text; give a class or a YAML file"]
        return [f"--{key}: {lines[0]}"] if key else lines
    value = next(filter(None, found.groups()))
    if value.endswith((".yaml", ".yml")):
        files = sorted(map(str, Path(value).parent.glob("*.yaml")))
        files = files or ["a YAML file; `lightning-colorize init .` creates experiments/"]
        return _refusal(f"--{key}: {value!r} does not exist", files, value)
    name = key.rpartition(".")[2]
    owners = [*reversed(classes), _SECTIONS.get(_section(key))]
    top = _SECTIONS.get(key, int)  # seed_everything
    hint = next((hints[name] for hints in map(_options, owners) if name in hints), top)
    if "is abstract" in fault:
        return _refusal(f"--{key} needs a class and its init_args", _accepted(hint))
    absent = re.search(r"No module named .*|module '.*' has no attribute .*", fault)
    other = re.search(r"does not correspond to a (subclass of \w+)", fault)
    reason = f"cannot be imported: {absent[0]}" if absent else "is not accepted"
    reason = f"is not a {other[1]}" if other else reason
    shown = "null" if value == "None" else repr(value)
    return _refusal(f"--{key}: {shown} {reason}", _accepted(hint), value.rpartition(".")[2])


def _refusal(fault: str, accepted: list[str], word: str = "", form: str = "{}") -> list[str]:
    """Return the lines: the key and the fault, the accepted values, the value probably meant."""
    lines = [fault, f"accepted: {', '.join(accepted)}"]
    if close := difflib.get_close_matches(word, accepted, n=1):
        lines.append(f"did you mean {form.format(close[0])}?")
    return lines


def _section(key: str) -> str:
    """Return the longest part of a key that is a section."""
    return max((name for name in _SECTIONS if key.startswith(f"{name}.")), key=len, default="")


def _options(cls: Any) -> dict[str, Any]:
    """Return the options of a class with their types, without the first if tasks pass it."""
    if cls is None:
        return {}
    names = [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
    if names and names[0] in ("info", "in_channels", "params", "optimizer"):
        del names[0]
    hints = get_type_hints(cls.__init__)
    return {name: hints.get(name) for name in names}


def _accepted(hint: Any) -> list[str]:
    """Return what a type accepts: choices, the classes that can be named, else its name."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return list(dict.fromkeys(name for part in parts for name in _accepted(part)))
    if origin is Callable:  # a factory, chosen by the class that it makes
        return _accepted(parts[1])
    if origin is Literal:
        return list(map(str, parts))
    if origin is not None or not inspect.isclass(hint):
        return [str(hint)]
    return _class_names(hint) or ["null" if hint is type(None) else hint.__name__]


def _class_names(base: type) -> list[str]:
    """Return the concrete subclasses of ours, torch and Lightning."""
    found = [base]
    for cls in found:
        found += type.__subclasses__(cls)
    packages = ("lightning_colorize.", "torch.optim", "pytorch_lightning.")
    return sorted(
        cls.__name__
        for cls in set(found[1:])
        # Lightning wraps optimizers in classes of its own: LightningAdam.
        if cls.__module__.startswith(packages)
        and not cls.__name__.startswith(("_", "Lightning"))
        and not inspect.isabstract(cls)
    )
