"""A task, or a source, from its class paths; only classes that may be named are imported.

Importing a module runs it, and so does building a class with arguments of someone else's choice: a
checkpoint from elsewhere must not decide what that is. LightningCLI would rebuild it through
jsonargparse, which also imports what plain strings name, and reads configurations from text and
files that strings hold; there, looking at the `class_path` keys would not be enough. Here a string
is a string, and what is checked is what is built.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.sources import Source
from lightning_colorize.tasks import ColorizationTask

ROOTS = (
    "lightning_colorize.tasks",
    "lightning_colorize.networks",
    "lightning_colorize.losses",
    "lightning_colorize.data.sources",
    "torch.nn",
    "torch.optim",
)
"""Packages whose classes may be built: what a task of ours is made of, sources, and torch's layers,
optimisers and schedules."""


def class_paths(hyperparameters: Any) -> Iterator[str]:
    """Yield every class path in nested hyperparameters, outermost first."""
    if isinstance(hyperparameters, dict):
        for key in ("_class_path", "class_path"):
            if key in hyperparameters:
                yield str(hyperparameters[key])
        hyperparameters = list(hyperparameters.values())
    if isinstance(hyperparameters, list | tuple):
        for value in hyperparameters:
            yield from class_paths(value)


def check_class_paths(hyperparameters: Any, allow: Sequence[str] = ()) -> None:
    """Refuse class paths outside `ROOTS`; imports nothing.

    Args:
        hyperparameters: Nested, as LightningCLI stores them.
        allow: Classes, modules or packages that the user allows as well.

    Raises:
        UsageError: If there is one; it says how to allow it.
    """
    for path in class_paths(hyperparameters):
        if not _within(path, [*ROOTS, *allow]):
            raise UsageError(
                f"it asks for the class {path}, which loading would import and run; "
                f"if you trust it, add --allow-class {path}"
            )


def build_task(hyperparameters: dict[str, Any], allow: Sequence[str] = ()) -> ColorizationTask:
    """Build the task that hyperparameters with a `_class_path` describe.

    Args:
        hyperparameters: As LightningCLI stores them.
        allow: Classes, modules or packages that may be imported besides `ROOTS`.

    Raises:
        UsageError: If a class path is refused, or the outermost is not of a task.
        ImportError: If a class path leads nowhere.
    """
    check_class_paths(hyperparameters, allow)
    path = hyperparameters["_class_path"]
    if not issubclass(_import_class(path, allow), ColorizationTask):
        raise UsageError(f"it holds a {path}, which is no task")
    arguments = {k: v for k, v in hyperparameters.items() if k not in _OF_LIGHTNING}
    task: ColorizationTask = _build({"class_path": path, "init_args": arguments}, allow)()
    return task


def build_source(spec: dict[str, Any], allow: Sequence[str] = ()) -> Source:
    """Build the source that a run's configuration describes.

    Args:
        spec: With `class_path` and, where there are any, `init_args`.
        allow: Classes, modules or packages that may be imported besides `ROOTS`.

    Raises:
        UsageError: If a class path is refused, or the outermost is not of a source.
        ImportError: If a class path leads nowhere.
    """
    check_class_paths(spec, allow)
    if not issubclass(_import_class(spec["class_path"], allow), Source):
        raise UsageError(f"it holds a {spec['class_path']}, which is no source")
    source: Source = _build(spec, allow)()
    return source


_OF_LIGHTNING = ("_class_path", "_instantiator")


def _build(spec: dict[str, Any], allow: Sequence[str]) -> "partial[Any]":
    """Return the class of a spec with its arguments, not yet called."""
    cls = _import_class(spec["class_path"], allow)
    hints = _hints(cls)
    arguments = {**spec.get("init_args", {}), **spec.get("dict_kwargs", {})}
    return partial(cls, **{k: _value(v, hints.get(k), allow) for k, v in arguments.items()})


def _value(value: Any, hint: Any, allow: Sequence[str]) -> Any:
    """Return an argument as its hint asks for it, with the specs in it built.

    A spec is a factory where the hint asks for one; a path is text in YAML, and a dataclass a
    dictionary.
    """
    options = _options(hint)
    if isinstance(value, dict) and "class_path" in value:
        factory = _build(value, allow)
        return factory if any(get_origin(o) is Callable for o in options) else factory()
    if isinstance(value, dict):
        made: Any = next(filter(dataclasses.is_dataclass, options), None)
        hints = {} if made is None else get_type_hints(made)
        fields = {k: _value(v, hints.get(k), allow) for k, v in value.items()}
        return fields if made is None else made(**fields)
    if isinstance(value, list):
        of = next((get_args(o)[0] for o in options if get_origin(o) is list), None)
        return [_value(v, of, allow) for v in value]
    return Path(value) if isinstance(value, str) and Path in options else value


def _import_class(path: str, allow: Sequence[str]) -> type:
    module, _, name = path.rpartition(".")
    cls = getattr(import_module(module), name, None)
    if not isinstance(cls, type):
        raise ImportError(f"there is no class {path}")
    # What our modules import from elsewhere is not ours.
    if not _within(path, allow) and not _within(cls.__module__, ROOTS):
        raise UsageError(f"it asks for {path}, a class of {cls.__module__}: refused")
    return cls


def _within(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)


def _hints(cls: type) -> dict[str, Any]:
    """Return the type hints of a class's arguments, those passed on to its bases included."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        init = vars(base).get("__init__")
        if inspect.isfunction(init):
            hints |= get_type_hints(init)
    return hints


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the types that a hint allows."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
