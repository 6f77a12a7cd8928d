"""The parts of the reference that are generated: commands, configuration, metrics, Python API.

A page marks the position with `<!-- generated: NAME ARGUMENTS -->`; `fill` replaces the mark by
Markdown. Each generator reads the objects that the program itself uses: the argparse parsers, the
signatures, and `__all__` of the public packages.
"""

import argparse
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

_MARK = re.compile(r"<!-- generated: (\w+) ?(.*?) -->")


def fill(text: str) -> str:
    """Return a page with its marks replaced."""
    return _MARK.sub(lambda match: GENERATORS[match[1]](*match[2].split()), text)


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") or "-"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Commands


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command, and every action of a command, with its parser.

    `fit` is not listed: its options are the keys of the configuration.
    """
    from lightning_colorize.cli import COMMANDS, command_module
    from lightning_colorize.common.arguments import PROGRAM, Parser

    for name in COMMANDS:
        module = command_module(name)
        if hasattr(module, "add_arguments"):
            parser = Parser(prog=f"{PROGRAM} {name}", description=module.HELP)
            module.add_arguments(parser)
        elif hasattr(module, "_parser"):
            parser = module._parser()
        else:
            continue
        yield from _with_actions(name, parser)


def _with_actions(
    name: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for action, child in (item for group in groups for item in group.choices.items()):
        yield from _with_actions(f"{name} {action}", child)


def _option_row(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    metavar = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if isinstance(metavar, tuple):
        metavar = " ".join(metavar)
    if action.choices is not None:
        metavar = ",".join(map(str, action.choices))
        metavar = f"{{{metavar}}}"
    value = metavar if action.nargs != 0 else ""
    name = " ".join([", ".join(action.option_strings), value]).strip()
    default = action.default
    shown = default not in (None, False, argparse.SUPPRESS, []) and action.option_strings
    help_ = (action.help or "") % {**vars(action), "prog": parser.prog}
    if shown:  # in a column of its own
        help_ = re.sub(r" \(default: [^()]*\)", "", help_)
    if action.required and action.option_strings:
        help_ = f"{help_} (required)".strip()
    return [f"`{name}`".replace("|", "\\|"), cell(help_), f"`{default}`" if shown else ""]


def commands() -> str:
    """Return every command with its options."""
    blocks = []
    for name, parser in parsers():
        description = " ".join((parser.description or "").split())
        rows = [
            _option_row(parser, action)
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS
        ]
        blocks.append(
            f"## {name}\n\n{description[:1].upper()}{description[1:]}"
            f"{'' if description.endswith('.') else '.'}\n\n"
            f"{table(['argument', 'meaning', 'default'], rows)}"
        )
    return "\n\n".join(blocks)


# Configuration


def _resolve(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _type_name(annotation: Any) -> str:
    name = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", name)


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is inspect.Parameter.empty:
        return "required"
    if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return ""
    if inspect.isclass(value):
        return f"`{value.__name__}`"
    yaml = {None: "null", True: "true", False: "false"}
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{yaml.get(value, value) if value is None or isinstance(value, bool) else value}`"


def keys(group: str, path: str) -> str:
    """Return the keys of a configuration group, from a class's signature and docstring.

    Args:
        group: The prefix of the keys, such as `data`.
        path: The class.
    """
    from docstring_parser import parse

    class_ = _resolve(path)
    texts = {p.arg_name: p.description or "" for p in parse(inspect.getdoc(class_) or "").params}
    rows = [
        [f"`{group}.{name}`", cell(f"`{_type_name(p.annotation)}`"), _default(p), cell(texts[name])]
        for name, p in inspect.signature(class_).parameters.items()
    ]
    return table(["key", "type", "default", "meaning"], rows)


# Metrics


def metrics(name: str = "METRICS") -> str:
    """Return a table of metrics, in the order of the program's own tables."""
    from lightning_colorize.evaluation import conditions
    from lightning_colorize.metrics import spec

    better = {"max": "higher", "min": "lower", None: "-"}
    rows = [
        [
            f"`{row.name}`",
            cell(row.help),
            better[row.goal],
            "per image" if row.per_image else "over all images",
            "yes" if row.needs_truth else "no",
        ]
        for row in {**vars(spec), **vars(conditions)}[name]
    ]
    return table(["name", "meaning", "better", "computed", "needs true colors"], rows)


def pretrained() -> str:
    """Return the table of metrics that need a pretrained network."""
    from lightning_colorize.evaluation.pretrained import METRICS

    return table(["name", "full name"], [[f"`{row.name}`", cell(row.title)] for row in METRICS])


# Networks


def network(experiment: str) -> str:
    """Return the layers of an experiment's networks, as `describe` does."""
    from lightning_colorize.commands.describe import COLUMNS, layers_of, open_networks
    from lightning_colorize.common.bundled import bundled
    from lightning_colorize.training.session import quiet

    quiet()
    blocks = []
    networks, size = open_networks(bundled("experiments") / f"{experiment}.yaml")
    for name, each in networks.items():
        layers, total = layers_of(each, size)
        rows = [[cell(text) for text in layer] for layer in layers]
        blocks += [f"`{name}`: {total}.", table([*COLUMNS], rows)]
    return "\n\n".join(blocks)


# Python


def python(package: str, *names: str) -> str:
    """Return autodoc's directives for names of a package; by default for its `__all__`."""
    module = import_module(package)
    directives = []
    for name in sorted(names or module.__all__, key=str.lower):
        value = getattr(module, name)
        if inspect.isclass(value):
            # Fields of a named tuple are in its own docstring.
            members = "" if issubclass(value, tuple) else "   :members:\n"
            directives.append(f".. autoclass:: {package}.{name}\n{members}")
        elif inspect.isroutine(value):
            directives.append(f".. autofunction:: {package}.{name}\n")
        else:
            directives.append(f".. py:data:: {package}.{name}\n")
    return "```{eval-rst}\n" + "\n".join(directives) + "```"


def escape_docstring(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Escape, outside of code, the characters that only reStructuredText takes for markup."""
    for index, line in enumerate(lines):
        if not re.match(r"\s*(:|\.\. )", line):
            parts = re.split(r"(`+[^`]*`+)", line)
            parts[::2] = [re.sub(r"(?<!\\)([*|]|(?<=\w)_(?!\w))", r"\\\1", p) for p in parts[::2]]
            lines[index] = "".join(parts)


GENERATORS: dict[str, Callable[..., str]] = {
    "commands": commands,
    "keys": keys,
    "metrics": metrics,
    "network": network,
    "pretrained": pretrained,
    "python": python,
}
