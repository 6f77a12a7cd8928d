"""What the configuration accepts, in words: read from signatures and from the classes there are."""

import dataclasses
import difflib
import inspect
import types
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pytorch_lightning import Trainer

from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.options import RunOptions

ROOTS: dict[str, Any] = {
    "trainer": Trainer,
    "data": ColorizationDataModule,
    "run": RunOptions,
    "model": ColorizationTask,
    "seed_everything": bool | int,
}
"""The first part of a key, and what its value describes."""

_SIMPLE: dict[Any, list[str]] = {
    int: ["a whole number"],
    float: ["a number"],
    bool: ["true", "false"],
    str: ["text"],
    type(None): ["null"],
    Path: ["a path"],
}


def find_class(path: str) -> Any:
    """Return the class or function of an import path; None where there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except (ImportError, ValueError):
        return None


def arguments(cls: Any) -> list[str]:
    """Return the names that a YAML may give to a class or function.

    What our factories fill in themselves (an encoder's features, an optimiser's parameters) comes
    first and has no default; a class that is named outright has such arguments too, of its own.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    filled_in = ("info", "in_channels", "params", "optimizer")
    return [name for name in names if not (name == names[0] and name in filled_in)]


def hint_at(parts: list[str], class_paths: list[str]) -> tuple[Any, Any]:
    """Return the type of a key and the class that it is an argument of.

    Args:
        parts: The key: ["model", "encoder", "depth"].
        class_paths: The classes chosen on the way, outermost first.

    Returns:
        Type and class; Any and None where the way is lost, as in dictionaries.
    """
    chosen = [cls for path in class_paths if (cls := find_class(path)) is not None]
    hint, owner = ROOTS.get(parts[0], Any), None
    for part in parts[1:]:
        owner = hint
        if hint not in ROOTS.values() or hint is ColorizationTask:
            bases = class_bases(hint)
            owner = next((c for c in chosen if bases and issubclass(c, bases)), None)
            if dataclasses.is_dataclass(hint):
                owner = hint
        hints = {} if owner is None else _hints(owner)
        if part not in hints:
            return Any, owner
        hint = hints[part]
    return hint, owner


def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)


def class_bases(hint: Any) -> tuple[type, ...]:
    """Return the classes of which a value of this type is an instance or makes one."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(base for part in get_args(hint) for base in class_bases(part))
    if get_origin(hint) is Callable:
        return class_bases(get_args(hint)[1])
    plain = inspect.isclass(hint) and get_origin(hint) is None and hint not in _SIMPLE
    return (hint,) if plain else ()


def class_names(hint: Any) -> list[str]:
    """Return the names of this package's (or torch's) classes that fit a type.

    Left out are those that are abstract, and of ours those that others are built upon.
    """
    bases = class_bases(hint)
    found = {cls for base in bases for cls in (base, *_subclasses(base))}
    names = {
        cls.__name__
        for cls in found
        if cls.__module__.startswith(("lightning_colorize.", "torch.optim.", "pytorch_lightning."))
        and not inspect.isabstract(cls)
        # Lightning wraps optimisers in use in classes that it makes up: LightningAdam.
        and not cls.__name__.startswith(("_", "Lightning"))
        and not (cls.__subclasses__() if cls in bases else _is_built_upon(cls))
    }
    return sorted(names)


def _is_built_upon(cls: type) -> bool:
    above: list[type] = cls.__subclasses__()
    return any(sub.__module__.startswith("lightning_colorize.") for sub in above)


def _subclasses(base: type) -> set[type]:
    direct: set[type] = set(base.__subclasses__())
    return direct.union(*(_subclasses(cls) for cls in direct))


def in_words(hint: Any) -> str:
    """Return what a type accepts, for a person: "a whole number or null"."""
    return _join(_alternatives(hint))


def _alternatives(hint: Any) -> list[str]:
    origin, parts = get_origin(hint), get_args(hint)
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if origin in (Union, types.UnionType):
        return [text for part in parts for text in _alternatives(part)]
    if origin is Literal:
        return [str(choice) for choice in parts]
    if origin is tuple:
        return [f"[{', '.join(in_words(part) for part in parts)}]"]
    if origin is list:
        return [f"a list [{in_words(parts[0])}, ...]"]
    if origin is dict:
        return ["{name: " + in_words(parts[1]) + ", ...}"]
    return class_names(hint)


def _join(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    return " or ".join(filter(None, [", ".join(unique[:-1]), unique[-1]])) if unique else ""


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant; None where none is alike."""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None
