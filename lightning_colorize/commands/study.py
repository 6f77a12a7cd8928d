"""`lightning-colorize study score`: scores the answers to a study page."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.files import require_writable, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_colorize.reports.perception.answers import Answers
    from lightning_colorize.reports.perception.score import Rate, Rates

HELP = "score the answers to a study page: how often systems fooled people or were preferred"

_TITLES = {"real": "taken for the real photograph", "better": "preferred"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="score")
    scoring = actions.add_parser("score", help=HELP, description=HELP)
    scoring.add_argument(
        "files",
        metavar="FILE.json",
        nargs="+",
        type=expanded_path,
        help="answers saved by the page, one file per participant",
    )
    scoring.add_argument(
        "--json", metavar="FILE", type=expanded_path, help="write the unrounded rates"
    )


def run(args: argparse.Namespace) -> int:
    """Print the rates; return 1 if nobody's answers count."""
    if args.json is not None:
        require_writable(args.json, "--json")
    from rich.console import Console

    from lightning_colorize.evaluation import print_plain
    from lightning_colorize.reports.perception.answers import read_answers
    from lightning_colorize.reports.perception.score import score

    answers = read_answers(args.files)
    for person in answers.inattentive:
        passed, total = person.checks
        print(
            f"excluded: {person.name} ({person.file}) passed {passed} of {total} attention checks",
            file=sys.stderr,
        )
    for file in answers.duplicates:
        print(f"duplicate: the participant of {file} is in an earlier file", file=sys.stderr)
    overall, categories = score(answers)
    console = Console()
    for question, title in _TITLES.items():
        columns = {"all": overall[question]}
        if len(categories) > 1:
            columns |= {name: rates[question] for name, rates in categories.items()}
        if columns["all"]:
            print_plain(console, _table(title, columns))
    people = len(answers.counted)
    print(f"{people} participant{'s' * (people != 1)}, {len(answers.trials):,} answers")
    if people:
        print("intervals treat answers as independent, although each person gives several")
    if args.json is not None:
        write_json(args.json, _as_json(answers, overall, categories))
    return 0 if answers.counted else 1


def _table(title: str, columns: Mapping[str, Mapping[str, "Rate"]]) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column(title, no_wrap=True)
    for name in columns:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for system in columns["all"]:
        table.add_row(Text(system), *(Text(_cell(rates.get(system))) for rates in columns.values()))
    return table


def _cell(rate: "Rate | None") -> str:
    if rate is None:
        return "-"
    return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}] of {rate.trials}"


def _as_json(
    answers: "Answers", overall: "Rates", categories: "Mapping[str, Rates]"
) -> dict[str, Any]:
    return {
        "page": next(iter([*answers.counted, *answers.inattentive])).page,
        "participants": [person.name for person in answers.counted],
        "left_out": {
            person.name: dict(zip(("passed", "of"), person.checks, strict=True))
            for person in answers.inattentive
        },
        "duplicates": [str(file) for file in answers.duplicates],
        "rates": _plain(overall),
        "categories": {name: _plain(rates) for name, rates in categories.items()},
    }


def _plain(rates: "Rates") -> dict[str, Any]:
    from lightning_colorize.reports.perception.score import QUESTIONS

    return {
        QUESTIONS[question]: {
            system: {"rate": rate.value, **asdict(rate)} for system, rate in by_system.items()
        }
        for question, by_system in rates.items()
    }
