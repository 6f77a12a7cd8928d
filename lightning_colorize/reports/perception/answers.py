"""Reads files of answers and sets aside those that do not count."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, StrictBool, ValidationError

from lightning_colorize.common.errors import UsageError
from lightning_colorize.reports.perception.plan import CHECKS, count_rounds

FORMAT = "lightning-colorize study"
VERSION = 1

_REMEDY = "ask the participant for the file that the page saved"
# Who is shown next to systems, by question and attention check.
_BESIDE_SYSTEMS: Mapping[tuple[str, bool], set[str]] = {
    ("real", False): {"truth"},
    ("real", True): {"truth", "broken"},
    ("better", False): set(),
    ("better", True): {"broken"},
}

ATTENTIVE = 0.8
"""Share of the attention checks to pass; the page has three for each question."""


class Trial(BaseModel):
    """One answer, as the page wrote it; `left` and `right` are a system, `truth` or `broken`."""

    question: Literal["real", "better"]
    check: StrictBool
    image: str
    category: str
    left: str
    right: str
    answer: Literal["left", "right"]

    @property
    def chosen(self) -> str:
        """Who colored the image that was chosen."""
        return self.left if self.answer == "left" else self.right


Rated = tuple[str, Trial]
"""A participant and one of the participant's trials."""


class Participant(BaseModel):
    """One person's answers."""

    name: str = Field(alias="participant")  # Random id, assigned by the page.
    page: str  # Id of the study page.
    file: Path
    systems: list[str] = Field(min_length=1)  # Names of the page's systems.
    trials: list[Trial] = Field(min_length=1)

    @property
    def checks(self) -> tuple[int, int]:
        """Number of attention checks passed, and of all attention checks."""
        checks = [trial for trial in self.trials if trial.check]
        return sum(trial.chosen != "broken" for trial in checks), len(checks)

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
    def rated(self) -> list[Rated]:
        """All trials that count, without attention checks."""
        return [(p.name, trial) for p in self.counted for trial in p.trials if not trial.check]


def read_answers(files: Sequence[Path]) -> Answers:
    """Read files of answers, each participant once."""
    people: dict[str, Participant] = {}
    duplicates = []
    for file in files:
        person = _read(file)
        first = next(iter(people.values()), person)
        if person.page != first.page:
            raise UsageError(
                f"{file} belongs to another study page than {first.file}; score them separately"
            )
        if person.systems != first.systems:
            raise UsageError(
                f"{file} names other systems than {first.file}, of the same page; {_REMEDY}"
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
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UsageError(f"{file} does not contain answers of a study page")
    if data.get("version") != VERSION:
        raise UsageError(f"{file} has version {data.get('version')} of the study, not {VERSION}")
    try:
        person = Participant.model_validate(data | {"file": file})
    except ValidationError:
        raise UsageError(f"{file} is damaged: it lacks part of the answers") from None
    _check(person)
    return person


def _check(person: Participant) -> None:
    """Refuse answers that no page asks for."""
    shown: Counter[tuple[str, str]] = Counter()
    for number, trial in enumerate(person.trials, 1):
        sides = {trial.left, trial.right}
        beside = _BESIDE_SYSTEMS[trial.question, trial.check]
        if len(sides) != 2 or sides.difference(person.systems) != beside:
            raise UsageError(
                f"{person.file} is damaged: answer {number} is about {trial.left!r} and "
                f"{trial.right!r}, which the page does not compare there; {_REMEDY}"
            )
        if not trial.check:
            shown.update((trial.question, side) for side in sides - beside)
    # Equal trials alone are not an error: with few images, a page repeats them.
    rounds = count_rounds(len(person.systems))
    most = {"real": rounds, "better": 2 * rounds}
    repeated = any(count > most[question] for (question, _), count in shown.items())
    if repeated or person.checks[1] > len(most) * CHECKS:
        raise UsageError(
            f"{person.file} is damaged: it repeats answers, as it has more of them than the page "
            f"asks for; {_REMEDY}"
        )
