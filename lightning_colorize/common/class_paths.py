"""Convert objects to class paths with arguments, and back; only trusted classes are imported.

Importing a module and building a class execute code, so a checkpoint from elsewhere must not choose
them. LightningCLI would use jsonargparse, which also imports names in plain strings and parses
strings as configurations or configuration files, so checking the `class_path` keys would not be
enough. Here strings stay strings, and only checked classes are built.
"""

import dataclasses
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from lightning_colorize.common.errors import UsageError, first_line

ROOTS = (
    "lightning_colorize.models.exported",
    "lightning_colorize.tasks",
    "lightning_colorize.networks",
    "lightning_colorize.losses",
    "lightning_colorize.data.sources",
    "torch.nn",
    "torch.optim",
)
"""Packages whose classes may be built: the parts of our tasks and exported files, sources, and
torch's layers, optimizers and schedules."""

# Modules whose classes moved, as older checkpoints name them.
_MOVED = {
    f"lightning_colorize.networks.encoders.{name}": "lightning_colorize.networks"
    for name in ("mobilenet", "regnet", "resnet", "vgg")
}

_MOST_VALUES = 10**6


@dataclasses.dataclass(frozen=True)
class Trust:
    """The classes that may be imported in addition to those in `ROOTS`."""

    allow: Sequence[str] = ()  # classes, modules or packages that the user allows by name
    # Class paths that the run's own configuration lists; only subclasses of `bases`.
    listed: Collection[str] = ()
    # Also trust classes whose modules are already imported; only subclasses of `bases`.
    imported: bool = False
    bases: tuple[type, ...] = ()  # of networks, losses, optimizers, schedules and sources

    def accepts(self, path: str) -> bool:
        """Return whether a class path may be imported."""
        is_imported = self.imported and path.rpartition(".")[0] in sys.modules
        return _within(path, [*ROOTS, *self.allow]) or path in self.listed or is_imported


def find_class_paths(spec: Any, counter: "count[int] | None" = None) -> Iterator[str]:
    """Yield every class path in nested values, outermost first.

    Raises:
        UsageError: If there are more values than anybody writes: YAML and pickle can repeat one
            list so often that reading a few lines takes hours.
    """
    counter = counter or count()
    if next(counter) > _MOST_VALUES:
        raise UsageError(f"it has more than {_MOST_VALUES:,} values")
    if isinstance(spec, dict):
        for key in ("_class_path", "class_path"):
            if key in spec:
                yield str(spec[key])
        spec = list(spec.values())
    if isinstance(spec, list | tuple):
        for value in spec:
            yield from find_class_paths(value, counter)


def build(
    spec: dict[str, Any], base: type, trust: Trust, overrides: Mapping[str, Any] | None = None
) -> Any:
    """Build the object that a class path and its arguments describe.

    `spec` has `class_path` and, optionally, `init_args`; it may be nested. `overrides` are objects
    for arguments of the outermost class, which must derive from `base`.

    Raises:
        UsageError: If class paths are refused (the message names all of them), before any other is
            built; if one outside of `ROOTS` cannot be imported; or if the outermost does not derive
            from `base`.
        ImportError: If there is no such class in `ROOTS`.
    """
    if refused := untrusted_classes(spec, trust):
        # A run's configuration lists its parts; a model without a run has no base classes.
        outside = trust.bases and not all(map(trust.accepts, refused))
        raise UsageError(
            "not a trusted model, network, loss, optimizer, schedule or source, so refused: "
            f"{', '.join(refused)}; if you trust them, add {allow_options(refused)}"
            f"{', or load the checkpoint from its run folder' if outside else ''}"
        )
    if not issubclass(_import_class(spec["class_path"]), base):
        raise UsageError(f"{spec['class_path']} is not a {base.__name__}")
    return _build(spec)(**overrides or {})


def allow_options(paths: Sequence[str]) -> str:
    """Return the command-line options that allow classes."""
    return " ".join(f"--allow-class {path}" for path in paths)


def untrusted_classes(spec: Any, trust: Trust) -> list[str]:
    """Return the class paths that need `--allow-class`, without repetition; imports the others.

    Raises:
        UsageError: If one outside of `ROOTS` cannot be imported.
        ImportError: If there is no such class in `ROOTS`.
    """
    return [p for p in dict.fromkeys(find_class_paths(spec)) if not _is_trusted(p, trust)]


def describe(value: Any) -> Any:
    """Describe a value as plain data from which `build` recreates it.

    An object of a `Recorded` class, a class, and a `functools.partial` of a class become a
    `class_path` with `init_args`.

    Raises:
        TypeError: If the value has no such description.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return {str(name): describe(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, type):
        return {"class_path": path_of(value)}
    if isinstance(value, partial) and isinstance(value.func, type) and not value.args:
        return {"class_path": path_of(value.func), "init_args": describe(value.keywords)}
    if hasattr(value, "init_arguments"):
        return {"class_path": path_of(type(value)), "init_args": describe(arguments_of(value))}
    raise TypeError(
        f"{value!r:.80} cannot be described by a class path: "
        "use a class, functools.partial of a class, or an object of our base classes"
    )


def arguments_of(recorded: Any) -> dict[str, Any]:
    """Return the arguments that an object of a `Recorded` class was built with, by name."""
    positional, named = recorded.init_arguments
    bound = inspect.signature(type(recorded)).bind(*positional, **named)
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        is_extra = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        arguments |= value if is_extra else {name: value}
    return arguments


def path_of(cls: type) -> str:
    """Return a class's path, `package.module.Class`."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _build(spec: dict[str, Any]) -> "partial[Any]":
    """Return a partial of a trusted spec's class with its arguments."""
    cls = _import_class(spec["class_path"])
    hints = _hints(cls)
    arguments = {**spec.get("init_args", {}), **spec.get("dict_kwargs", {})}
    return partial(cls, **{k: _value(v, hints.get(k)) for k, v in arguments.items()})


def _value(value: Any, hint: Any) -> Any:
    """Convert an argument to the type of its hint, and build the specs in it.

    A spec becomes a factory if the hint requires one. In YAML, a path is a string and a dataclass a
    dictionary.
    """
    options = _options(hint)
    if isinstance(value, dict) and "class_path" in value:
        factory = _build(value)
        if any(get_origin(o) is Callable for o in options):
            return factory
        made = factory()
        if not hasattr(made, "init_arguments"):  # `describe` needs them
            made.init_arguments = ((), factory.keywords)
        return made
    if isinstance(value, dict):
        cls: Any = next(filter(dataclasses.is_dataclass, options), None)
        hints = {} if cls is None else get_type_hints(cls)
        fields = {k: _value(v, hints.get(k)) for k, v in value.items()}
        return fields if cls is None else cls(**fields)
    if isinstance(value, list):
        of = next((get_args(o)[0] for o in options if get_origin(o) is list), None)
        return [_value(v, of) for v in value]
    return Path(value) if isinstance(value, str) and Path in options else value


def _is_trusted(path: str, trust: Trust) -> bool:
    if not trust.accepts(path):
        return False
    cls = _import_class(path)
    # Names that our modules import from elsewhere are not trusted.
    is_ours = _within(path, ROOTS) and _within(cls.__module__, ROOTS)
    return is_ours or _within(path, trust.allow) or issubclass(cls, trust.bases)


def _import_class(path: str) -> type:
    module, _, name = path.rpartition(".")
    module = _MOVED.get(module, module)
    try:
        cls = getattr(import_module(module), name, None)
    except Exception as error:  # importing a module runs it
        if _within(path, ROOTS):
            raise ImportError(f"there is no class {path}: {error}") from error
        missing = isinstance(error, ModuleNotFoundError)
        hint = f": install {module}'s package or set PYTHONPATH" if missing else ""
        raise UsageError(f"{path} cannot be imported: {first_line(error)}{hint}") from error
    if isinstance(cls, type):
        return cls
    if _within(path, ROOTS):
        raise ImportError(f"there is no class {path}")
    where = getattr(sys.modules[module], "__file__", None)
    raise UsageError(f"{path} cannot be imported: {where or module} has no class {name}")


def _within(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)


def _hints(cls: type) -> dict[str, Any]:
    """Return the type hints of a class's arguments, including arguments passed on to its bases."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        init = vars(base).get("__init__")
        if inspect.isfunction(init):
            # torch's MultiStepLR names a type that it imports for type checkers only.
            with suppress(NameError):
                hints |= get_type_hints(init)
    return hints


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the types that a hint allows."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
