"""Reads files of answers and sets aside those that do not count."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError

FORMAT = "lightning-colorize study"
VERSION = 1

ATTENTIVE = 0.8
"""Share of the attention checks to pass; the page has three for each question."""


@dataclass(frozen=True)
class Participant:
    """One person's answers.

    Attributes:
        name: Random id, assigned by the page.
        page: Id of the study page.
        file: The file of the answers.
        systems: Names of the page's systems.
        trials: As the page wrote them: `question` (real or better), `left` and `right` (a system,
            `truth` or `broken`), `answer` (left or right), `category`, `check`, ...
    """

    name: str
    page: str
    file: Path
    systems: list[str]
    trials: list[dict[str, Any]]

    @property
    def checks(self) -> tuple[int, int]:
        """Number of attention checks passed, and of all attention checks."""
        checks = [trial for trial in self.trials if trial["check"]]
        return sum(trial[trial["answer"]] != "broken" for trial in checks), len(checks)

    @property
    def attentive(self) -> bool:
        """Whether the answers count: without any check they do not."""
        passed, total = self.checks
        return total > 0 and passed >= ATTENTIVE * total


@dataclass(frozen=True)
class Answers:
    """The answers to one study page; `counted` participants passed the attention checks."""

    counted: list[Participant]
    inattentive: list[Participant]
    duplicates: list[Path]
    systems: list[str]

    @property
    def trials(self) -> list[dict[str, Any]]:
        """All trials that count, without attention checks."""
        return [trial for person in self.counted for trial in person.trials if not trial["check"]]


def read_answers(files: Sequence[Path]) -> Answers:
    """Read files of answers, each participant once.

    Raises:
        UsageError: If a file is not a study's answers, or the files belong to different pages.
    """
    people: dict[str, Participant] = {}
    duplicates = []
    for file in files:
        person = _read(file)
        first = next(iter(people.values()), person)
        if person.page != first.page:
            raise UsageError(
                f"{file} belongs to another study page than {first.file}; score them separately"
            )
        if person.name in people:
            duplicates.append(file)
        else:
            people[person.name] = person
    counted = [person for person in people.values() if person.attentive]
    inattentive = [person for person in people.values() if not person.attentive]
    return Answers(counted, inattentive, duplicates, first.systems)


def _read(file: Path) -> Participant:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is not JSON ({error})") from None
    match data:
        case {"format": str(name), "version": version} if name == FORMAT:
            if version != VERSION:
                raise UsageError(f"{file} has version {version} of the study, not {VERSION}")
        case _:
            raise UsageError(f"{file} does not contain answers of a study page")
    match data:
        case {
            "systems": [*systems],
            "trials": [_, *_] as trials,
            "participant": name,
            "page": page,
        }:
            if all(isinstance(s, str) for s in systems) and all(
                _is_trial(trial, ("truth", "broken", *systems)) for trial in trials
            ):
                return Participant(str(name), str(page), file, systems, trials)
    raise UsageError(f"{file} is damaged: it lacks part of the answers")


def _is_trial(trial: Any, shown: Sequence[str]) -> bool:
    match trial:
        case {
            "question": "real" | "better",
            "check": bool(),
            "category": str(),
            "left": left,
            "right": right,
            "answer": "left" | "right",
        }:
            return left in shown and right in shown
    return False
