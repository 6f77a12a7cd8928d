"""Bad input to `fit` in at most three lines: the key and the value given, what is accepted.

jsonargparse says what is wrong with a value for each type that it might have had, over a dozen
lines and in Python's terms. Which key it is about is taken from its text; the rest comes from the
signatures and from what the user typed.
"""

import dataclasses
import re
from typing import Any

from jsonargparse import ArgumentError
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.accepted import (
    ROOTS,
    arguments,
    class_bases,
    class_names,
    find_class,
    hint_at,
    in_words,
    nearest,
)
from lightning_colorize.training.given import Given, config_files, given, options, plain, settings

_START = "--config experiments/quickstart.yaml"
_WIDTH = 300  # characters of a line: a long list is cut, the help has it in full


def is_bad_input(error: Exception) -> bool:
    """Return whether an error while a run is set up is the user's to mend.

    A TypeError is so only where Lightning raises it on its own arguments; elsewhere it is a fault
    in a program, maybe the user's new encoder, and the traceback is wanted.
    """
    error = _unwrapped(error)
    if isinstance(error, TypeError):
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        module = "" if traceback is None else traceback.tb_frame.f_globals["__name__"]
        return bool(re.match(r"pytorch_lightning|lightning_fabric|lightning\.", module))
    return isinstance(error, (ArgumentError, MisconfigurationException, ValueError))


def explain(error: Exception, words: list[str]) -> str:
    """Return what is wrong, in at most three lines.

    Args:
        error: What was raised while the words were parsed or the classes built.
        words: The command line after `fit`.
    """
    error = _unwrapped(error)
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, ArgumentError):
        lines = _parsing(str(error), words)
    else:
        lines = _building(" ".join(str(error).split()), words)
    return "\n".join(line if len(line) <= _WIDTH else line[: _WIDTH - 4] + " ..." for line in lines)


def _unwrapped(error: Exception) -> Exception:
    """Return what a constructor raised; jsonargparse wraps it in its account of all types."""
    while str(error).startswith("Does not validate") and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _building(text: str, words: list[str]) -> list[str]:
    """Explain what a constructor said; it names the argument or repeats the value."""
    meant: list[tuple[bool, Given]] = []
    for parts, found in settings(words):
        value = str(found.value)
        if found.value is None or isinstance(found.value, dict) or parts[0] not in ROOTS:
            continue
        name = re.escape(parts[-1])
        named = re.search(rf"(^|`){name}\b|\b{name}(=|:| is | has )", text)
        typed = found.place.startswith("--") and value.isalpha() and value not in ("true", "false")
        if named or f"'{value}'" in text or (typed and re.search(rf"\b{value}\b", text)):
            meant.append((re.match(rf"{name}\b", text) is not None, found))
    if not meant:
        return [text]
    # A text names first what it is about; others may be part of what it advises.
    _, found = max(meant, key=lambda item: item[0])
    return [f"{found.place}: {_shown(found.value)} does not work here", text]


def _parsing(text: str, words: list[str]) -> list[str]:
    """Explain what the parser said."""
    if match := re.search(r"argument (\S+): expected one argument", text):
        return _no_value(match[1].split("/")[-1])
    if "required: model" in text:
        return _no_model(words)
    if (fault := _config_fault(text, words)) is not None:
        return fault
    # "run" fails at its own level and again one above.
    keys = list(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', text)))
    parts = [part for key in keys for part in plain(key)]
    found = re.findall(
        r"given class_path '([^']+)'|Got value: Namespace\(class_path='([^']+)'", text
    )
    class_paths = [first or second for first, second in found]
    if match := re.search(r"unrecognized arguments: (.*)", text):
        word = match[1].split()[0]
        if not word.startswith("--"):
            return [f"'{word}' is not accepted: settings are given as --KEY VALUE"]
        unknown = plain(word[2:].partition("=")[0])
        # Within a class: an argument of one of its arguments, which is the one that it lacks.
        if parts:
            return _unknown_argument([*parts, unknown[0]], class_paths, words)
        return _unknown_key(unknown, words)
    if match := re.search(r"Group '([^']+)' does not accept option '([^']+)'", text):
        return _unknown_key([*plain(match[1]), *plain(match[2])], words)
    if match := re.search(r"Option '([^']+)' is not accepted", text):
        return _unknown_argument([*parts, *plain(match[1])], class_paths, words)
    if not parts:
        return [line.strip() for line in text.splitlines() if line.strip()][:3]
    if match := re.search(r"arguments are required: (.*)", text):
        return _missing_arguments(parts, class_paths, match[1], words)
    if "is abstract" in text:
        return _no_class(parts, words)
    return _bad_value(parts, class_paths, text, words)


def _unknown_key(parts: list[str], words: list[str]) -> list[str]:
    """Explain a key that no group has."""
    found = given(words, parts)
    if parts[0] not in ROOTS:
        return _refusal(found, "there is no such key", list(ROOTS), parts[0], "", parts[1:])
    hint, owner = ROOTS[parts[0]], ROOTS[parts[0]]
    for depth in range(2, len(parts)):
        hint, _ = hint_at(parts[:depth], [])
        owner = hint
    prefix = ".".join(parts[:-1])
    fault = f"{prefix} has no '{parts[-1]}'"
    return _refusal(found, fault, arguments(owner), parts[-1], f"{prefix}.")


def _unknown_argument(parts: list[str], class_paths: list[str], words: list[str]) -> list[str]:
    """Explain an argument that the chosen class does not have."""
    owner = find_class(class_paths[-1]) if class_paths else None
    if owner is None:
        return _unknown_key(parts, words)
    names = arguments(owner)
    accepted = names or [f"none: {owner.__name__} has no settings"]
    fault = f"{owner.__name__} has no '{parts[-1]}'"
    prefix = ".".join(parts[:-1]) + "."
    return _refusal(given(words, parts), fault, accepted, parts[-1] if names else "", prefix)


def _bad_value(parts: list[str], class_paths: list[str], text: str, words: list[str]) -> list[str]:
    """Explain a value of the wrong type, out of its choices, or a class that there is not."""
    found = given(words, parts)
    if found.value is None and (match := re.search(r"(?:Got|Given) value: (.*)", text)):
        found = found._replace(value=match[1])
    hint, _ = hint_at(parts, class_paths)
    if dataclasses.is_dataclass(hint) or hint in (ROOTS["trainer"], ROOTS["data"]):
        fault = f"{_shown(found.value)} is not accepted, {parts[-1]} is a group of settings"
        prefix = ".".join(parts) + "."
        return _refusal(found, fault, [prefix + name for name in arguments(hint)], "")
    value, names = str(found.value), class_names(hint)
    if not names:
        accepted = in_words(hint)
        fault = f"{_shown(found.value)} is not accepted"
        return _refusal(found, fault, [accepted] if accepted else [], value, choices=accepted)
    if value.endswith((".yaml", ".yml")):
        path = expanded_path(value)
        beside = sorted(str(path.parent / file.name) for file in path.parent.glob("*.yaml"))
        if not path.is_file():
            return _refusal(found, f"there is no file {value}", [*names, *beside], value)
    kind = " or ".join(base.__name__ for base in class_bases(hint))
    return _refusal(found, f"{_shown(value)} is no {kind}", names, value.rpartition(".")[2])


def _missing_arguments(
    parts: list[str], class_paths: list[str], missing: str, words: list[str]
) -> list[str]:
    """Explain a class that lacks arguments without which it cannot be."""
    name = class_paths[-1].rpartition(".")[2] if class_paths else "the class"
    lines = [f"{given(words, parts).place}: {name} needs {missing}"]
    for argument in missing.split(", "):
        hint, _ = hint_at([*parts, argument], class_paths)
        if accepted := in_words(hint):
            lines.append(f"accepted: --{'.'.join([*parts, argument])} with {accepted}")
    return lines[:3]


def _no_class(parts: list[str], words: list[str]) -> list[str]:
    """Explain settings of a class that was not chosen."""
    if parts == ["model"] and len(config_files(words)) == 1:
        return _no_model(words)
    known = ("class_path", "init_args", "dict_kwargs")
    for name, found in settings(words):
        if name[:-1] == parts and found.place.endswith(".yaml") and name[-1] not in known:
            if (*parts, "class_path") in {tuple(key) for key, _ in settings(words)}:
                return _refusal(found, "it is unknown beside class_path", list(known), name[-1])
            break
    key = ".".join(parts)
    hint, _ = hint_at(parts, [])
    below = [found for name, found in settings(words) if name[: len(parts)] == parts]
    place = below[0].place if below else f"--{key}"
    return [
        f"{place}: no class is chosen for {key}",
        f"accepted: --{key} with {', '.join(class_names(hint))}",
    ]


def _no_model(words: list[str]) -> list[str]:
    files = config_files(words)[:-1]
    named = sorted(f.stem for f in bundled("experiments").glob("*.yaml") if f.stem != "base")
    first = f"{files[0]} describes no model" if files else "there is no model: name an experiment"
    return [f"{first} ({_START})", f"accepted: --config with one of {', '.join(named)} (.yaml)"]


def _no_value(option: str) -> list[str]:
    parts = plain(option.lstrip("-"))
    if parts[0] == "config":
        return [f"{option}: no file is given ({_START})"]
    hint, _ = hint_at(parts, [])
    return [f"{option}: no value is given", f"accepted: {in_words(hint)}"]


def _config_fault(text: str, words: list[str]) -> list[str] | None:
    """Explain a configuration file that is missing, or no YAML; None where that is not it."""
    values = [value for key, value in options(words) if key in ("config", "c") and value]
    if text.startswith('Parser key "config"'):
        path = next(path for path in map(expanded_path, values) if not path.is_file())
        there = sorted(str(file) for file in path.parent.glob("*.yaml"))
        what = "a folder" if path.is_dir() else "not there"
        there = there or ["a YAML file; `lightning-colorize init .` puts experiments/ here"]
        return _refusal(Given(path, "--config"), f"{path} is {what}", there, str(path))
    if text.startswith("Problems parsing config"):
        place = ", ".join(re.findall(r"line \d+, column \d+", text)[-1:])
        reason = text.partition("config: ")[2].splitlines()
        told = [line.strip() for line in reason if not line.lstrip().startswith("in ")]
        return [f"--config: {values[-1]} is not YAML: {', '.join(told)} ({place})"]
    if text.startswith("Unexpected config"):
        return [
            f"--config: {values[-1]} holds no settings",
            f"accepted: YAML with {', '.join(ROOTS)}",
        ]
    return None


def _refusal(
    found: Given,
    fault: str,
    accepted: list[str],
    word: str,
    prefix: str = "",
    rest: list[str] | None = None,
    choices: str = "",
) -> list[str]:
    """Return the lines: key and fault, what is accepted, what was probably meant."""
    shown = (
        ""
        if found.value is None or str(found.value) in fault
        else f" (given: {_shown(found.value)})"
    )
    lines = [f"{found.place}: {fault}{shown}"]
    if accepted:
        lines.append(f"accepted: {', '.join(accepted)}")
    candidates = re.split(r", | or ", choices) if choices else accepted
    if word == "null" and "null" in candidates:
        # jsonargparse hands it on as text.
        lines.append("so deep a key takes null from a file only: a fragment, or a second --config")
    elif word and (near := nearest(word, candidates)) is not None:
        lines.append(f"did you mean {prefix}{'.'.join([near, *(rest or [])])}?")
    return lines


def _shown(value: Any) -> str:
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."
