"""`lightning-colorize study score`: evaluates the answers to the page of `compare --study`."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.files import write_json
from lightning_colorize.common.text import UNKNOWN, printable

if TYPE_CHECKING:
    from lightning_colorize.evaluation.table import Table
    from lightning_colorize.reports.perception.answers import Answers
    from lightning_colorize.reports.perception.score import Rate, Rates

HELP = "show how often systems fooled people or were preferred"

_TITLES = {"real": "taken for the real photograph", "better": "preferred"}


def add_arguments(parser: Parser) -> None:
    """Add the only action, `score`, and its arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="score")
    score = actions.add_parser("score", help=HELP, description=HELP)
    text = "files of answers from the page, one per participant"
    score.add_path("files", "FILE.json", text, nargs="+")
    score.add_argument(
        "--by",
        choices=("rater", "image"),
        action="append",
        default=[],
        help="also show the rates per rater or image; may be repeated",
    )
    score.add_int("--seed", "seed of the intervals", 0, default=0)
    score.add_output("--json", "write the unrounded results")


def run(args: argparse.Namespace) -> int:
    """Print the rates; return 1 if no answers count."""
    from lightning_colorize.evaluation import print_plain
    from lightning_colorize.reports.perception.answers import read_answers
    from lightning_colorize.reports.perception.score import rates, rates_by, strengths

    answers = read_answers(args.files)
    _print_excluded(answers)
    rated = answers.rated
    overall = rates(rated, answers.systems, args.seed)
    categories = rates_by(answers, "category", args.seed)
    strength = strengths(rated, answers.systems, args.seed)
    groups = {by: rates_by(answers, by) for by in ("rater", "image")}
    tables = []
    shown = {"all": overall} | (categories if len(categories) > 1 else {})
    for question, title in _TITLES.items():
        if systems := list(overall[question]):
            columns = {name: _cells(each[question]) for name, each in shown.items()}
            tables.append(_table(title, systems, columns))
    if strength:
        column = {
            name: f"{each.value:+.2f} [{each.low:+.2f}, {each.high:+.2f}]"
            for name, each in strength.items()
        }
        tables.append(_table("strength in log-odds (Bradley-Terry)", list(column), {"all": column}))
    for by in dict.fromkeys(args.by):
        for question, title in _TITLES.items():
            columns = {
                system: _cells({name: of[question].get(system) for name, of in groups[by].items()})
                for system in overall[question]
            }
            if columns:
                tables.append(_table(f"{title}, by {by}", list(groups[by]), columns))
    for table in tables:
        print_plain(table)
    people, images = len(answers.counted), len(groups["image"])
    participants = f"{people} participant{'s' * (people != 1)}"
    print(f"{participants}, {len(rated):,} answers")
    if people:
        each = "; intervals of one rater or image are over its answers" if args.by else ""
        print(f"95 % intervals over {participants} and {images} image{'s' * (images != 1)}{each}")
    if args.json is not None:
        content = {
            "page": (answers.counted + answers.inattentive)[0].page,
            "participants": [person.name for person in answers.counted],
            "left_out": {
                person.name: dict(zip(("passed", "of"), person.checks, strict=True))
                for person in answers.inattentive
            },
            "duplicates": [str(file) for file in answers.duplicates],
            "rates": _plain(overall),
            "categories": {name: _plain(each) for name, each in categories.items()},
            "strengths": {name: asdict(each) for name, each in strength.items()},
        }
        for by, of in groups.items():
            content[f"{by}s"] = {name: _plain(each) for name, each in of.items()}
        write_json(args.json, content)
    return 0 if people else 1


def _print_excluded(answers: "Answers") -> None:
    for person in answers.inattentive:
        passed, total = person.checks
        line = (
            f"excluded: {person.name} ({person.file}) passed {passed} of {total} attention checks"
        )
        print(printable(line), file=sys.stderr)
    for file in answers.duplicates:
        print(f"duplicate: the participant of {file} is in an earlier file", file=sys.stderr)


def _table(title: str, names: list[str], columns: Mapping[str, Mapping[str, str]]) -> "Table":
    from lightning_colorize.evaluation.table import Column, Table, make_row

    rows = [
        make_row(printable(name), *(cells.get(name, UNKNOWN) for cells in columns.values()))
        for name in names
    ]
    return Table(title, [Column(title, text=True), *map(Column, columns)], rows)


def _cells(rates: "Mapping[str, Rate | None]") -> dict[str, str]:
    return {
        name: f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}] of {rate.trials}"
        for name, rate in rates.items()
        if rate is not None
    }


def _plain(rates: "Rates") -> dict[str, Any]:
    from lightning_colorize.reports.perception.score import QUESTIONS

    return {
        QUESTIONS[question]: {
            system: {"rate": rate.value, **asdict(rate)} for system, rate in by_system.items()
        }
        for question, by_system in rates.items()
    }
