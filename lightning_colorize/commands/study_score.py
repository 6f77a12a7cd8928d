"""`study score` and `study power`."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_json
from lightning_colorize.common.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_colorize.reports.perception.answers import Answers
    from lightning_colorize.reports.perception.score import Rate, Rates

_TITLES = {"real": "taken for the real photograph", "better": "preferred"}


def score(args: argparse.Namespace) -> int:
    """Print the rates; return 1 if no answers count."""
    if args.json is not None:
        require_writable(args.json, "--json")
    from rich.console import Console

    from lightning_colorize.evaluation import print_plain
    from lightning_colorize.reports.perception.answers import read_answers
    from lightning_colorize.reports.perception.bradley_terry import strengths
    from lightning_colorize.reports.perception.score import rates, rates_by

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
    console = Console()
    for table in tables:
        print_plain(console, table)
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


def power(args: argparse.Namespace) -> int:
    """Print the preference that a study can detect, and the required number of answers."""
    total = args.rater_correlation + args.image_correlation
    if total > 1:  # otherwise, more answers would be less informative
        raise UsageError(
            f"--rater-correlation and --image-correlation sum to {total:g}, but the "
            "maximum is 1, since "
            "both are shares of the variance of an answer; give smaller ones"
        )
    if not 0.5 < args.preference < 1:
        raise UsageError(f"--preference {args.preference} is not between 0.5 and 1")
    from lightning_colorize.reports.perception import power as formulas

    design = formulas.Design(
        args.raters, args.pairs, args.images, args.rater_correlation, args.image_correlation
    )
    print(
        f"{design.raters} raters x {design.pairs} pairs = {design.raters * design.pairs:,} answers "
        f"on {design.images} images; design effect {design.effect:.2f}: "
        f"{design.effective:,.0f} independent answers"
    )
    shown = f"{args.preference:.1%}"
    chance = formulas.power(design.effective, args.preference)
    print(f"power to detect a preference of {shown} (two-sided, 5 %): {chance:.0%}")
    smallest = formulas.smallest_preference(design.effective)
    limit = "none" if smallest is None else f"{smallest:.1%}"
    print(f"smallest preference detected with a power of 80 %: {limit}")
    answers = formulas.needed(args.preference)
    print(f"a power of 80 % for {shown} needs {answers:,.0f} independent answers:")
    for name in ("raters", "pairs", "images"):
        needed = design.needed(name, answers)
        found = "no number is enough" if needed is None else f"{needed:,}"
        print(f"  {name}, if all else stays: {found}")
    return 0


def _print_excluded(answers: "Answers") -> None:
    for person in answers.inattentive:
        passed, total = person.checks
        line = (
            f"excluded: {person.name} ({person.file}) passed {passed} of {total} attention checks"
        )
        print(printable(line), file=sys.stderr)
    for file in answers.duplicates:
        print(f"duplicate: the participant of {file} is in an earlier file", file=sys.stderr)


def _table(title: str, rows: list[str], columns: Mapping[str, Mapping[str, str]]) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column(title, no_wrap=True)
    for name in columns:
        table.add_column(Text(printable(name)), justify="right", no_wrap=True)
    for row in rows:
        cells = (Text(cells.get(row, "-")) for cells in columns.values())
        table.add_row(Text(printable(row)), *cells)
    return table


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
