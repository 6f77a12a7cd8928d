"""Reads files of answers and sets aside those that do not count."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, StrictBool, ValidationError

from lightning_colorize.common.errors import UsageError

FORMAT = "lightning-colorize study"
VERSION = 1

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
                f"{file} names other systems than {first.file}, of the same page; ask the "
                "participant for the file that the page saved"
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
    known = {*person.systems, "truth", "broken"}
    if any({trial.left, trial.right} - known for trial in person.trials):
        raise UsageError(f"{file} is damaged: it has answers about unknown systems")
    return person
