"""Files of answers: read, checked, and those that do not count set apart."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError

FORMAT = "lightning-colorize study"
VERSION = 1

ATTENTIVE = 0.8
"""Share of the attention checks that must be passed; the page has three for each question."""

_FIELDS = ("question", "check", "category", "left", "right", "answer")
_SIDES = ("left", "right")


@dataclass(frozen=True)
class Participant:
    """One person's answers.

    Attributes:
        name: Random, given by the page.
        page: The study page that they answered.
        file: Where they were read.
        systems: Names of the systems that the page asks about.
        trials: As the page wrote them: `question` (real or better), `left`, `right` (a system,
            `truth` or `broken`), `answer` (left or right), `category`, `check`, ...
    """

    name: str
    page: str
    file: Path
    systems: list[str]
    trials: list[dict[str, Any]]

    @property
    def checks(self) -> tuple[int, int]:
        """How many attention checks were passed, and how many there were."""
        checks = [trial for trial in self.trials if trial["check"]]
        return sum(trial[trial["answer"]] != "broken" for trial in checks), len(checks)

    @property
    def attentive(self) -> bool:
        """Whether enough checks were passed that the answers count; not so without any check."""
        passed, of = self.checks
        return of > 0 and passed >= ATTENTIVE * of


@dataclass(frozen=True)
class Answers:
    """All that was handed in.

    Attributes:
        counted: Those whose answers count.
        inattentive: Those who failed the attention checks.
        duplicates: Files of participants who are in an earlier file.
        systems: Names of the systems, in the page's order.
    """

    counted: list[Participant]
    inattentive: list[Participant]
    duplicates: list[Path] = field(default_factory=list)
    systems: list[str] = field(default_factory=list)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """All trials that count, without attention checks."""
        return [trial for person in self.counted for trial in person.trials if not trial["check"]]


def read_answers(files: Sequence[Path]) -> Answers:
    """Read files of answers, each participant's once.

    Raises:
        UsageError: If a file is none of a study's, or the files are of different pages.
    """
    people: dict[str, Participant] = {}
    duplicates = []
    for file in files:
        person = read_participant(file)
        first = next(iter(people.values()), person)
        if person.page != first.page:
            raise UsageError(f"{file} is of another study page than {first.file}; score them apart")
        if person.name in people:
            duplicates.append(file)
        else:
            people[person.name] = person
    everybody = list(people.values())
    return Answers(
        [person for person in everybody if person.attentive],
        [person for person in everybody if not person.attentive],
        duplicates,
        everybody[0].systems,
    )


def read_participant(file: Path) -> Participant:
    """Read one file of answers.

    Raises:
        UsageError: If it cannot be read or is none of a study's.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is not JSON ({error})") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UsageError(f"{file} holds no answers of a study page")
    if data.get("version") != VERSION:
        raise UsageError(
            f"{file} is of version {data.get('version')} of the study, this reads {VERSION}"
        )
    try:
        systems, trials = data["systems"], data["trials"]
        person = Participant(str(data["participant"]), str(data["page"]), file, systems, trials)
    except KeyError:
        trials = None
    if (
        not (isinstance(trials, list) and trials and isinstance(systems, list))
        or not all(isinstance(name, str) for name in systems)
        or not all(_is_trial(trial, systems) for trial in trials)
    ):
        raise UsageError(f"{file} is damaged: it lacks part of the answers")
    return person


def _is_trial(trial: Any, systems: Sequence[str]) -> bool:
    """Return whether a trial says who stood where and what was answered."""
    shown = ("truth", "broken", *systems)
    return (
        isinstance(trial, dict)
        and all(name in trial for name in _FIELDS)
        and isinstance(trial["category"], str)
        and isinstance(trial["check"], bool)
        and trial["question"] in ("real", "better")
        and trial["answer"] in _SIDES
        and all(trial[side] in shown for side in _SIDES)
    )
