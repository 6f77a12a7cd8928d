"""The study page: what it asks, which images it shows, and its HTML."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from lightning_colorize.common.errors import UsageError
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.perception.answers import FORMAT, VERSION
from lightning_colorize.reports.perception.plan import BROKEN, TRUTH, PlannedTrial, Question

STUDY = "study.html"
IMAGES = "study"

ImageFile = Annotated[str, Field(pattern=rf"^{IMAGES}/[0-9a-f]+\.jpg$")]

_DATA = re.compile(r'<script type="application/json" id="study">(.*?)</script>', re.DOTALL)


class StudyImage(BaseModel):
    """One image of a study: its name, and its file as colored by each system."""

    name: str
    category: str
    truth: ImageFile | None
    systems: list[ImageFile]
    broken: ImageFile


class StudyPage(BaseModel):
    """What a study page contains; a trial is resolved by `file` and `colored_by`."""

    format: Literal["lightning-colorize study"]
    version: Literal[1]
    page: str
    systems: list[str]
    questions: list[Question]
    images: list[StudyImage]
    plans: list[list[PlannedTrial]] = Field(min_length=1)

    def file(self, image: int, who: int) -> str:
        """Return the file of an image as colored by a system's index, TRUTH or BROKEN.

        Raises:
            LookupError: If the study has no such image.
        """
        shown = self.images[image]
        file = {TRUTH: shown.truth, BROKEN: shown.broken, **dict(enumerate(shown.systems))}[who]
        if file is None:
            raise LookupError("the study has no photographs")
        return file

    def colored_by(self, who: int) -> str:
        """Return the name of a system's index, `truth` or `broken`."""
        return {TRUTH: "truth", BROKEN: "broken", **dict(enumerate(self.systems))}[who]

    @property
    def files(self) -> set[str]:
        """The files of all plans."""
        trials = {trial for plan in self.plans for trial in plan}
        return {self.file(t.image, side) for t in trials for side in (t.left, t.right)}


def study_html(study: Mapping[str, Any], consent: Sequence[str] = ()) -> str:
    """Return the page of a study.

    Its data for the page's script contains `served` if a server takes the answers. A participant of
    a served study agrees to the paragraphs of `consent`.
    """
    assets = ("kit.css", "study.css", "study.js")
    page = {"title": "Which image?"}
    return render("study.html.jinja", *assets, page=page, study=study, consent=consent)


def read_page(folder: Path) -> StudyPage:
    """Read the study page of a folder that `compare --study` wrote."""
    path = folder / STUDY
    try:
        found = _DATA.search(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise UsageError(
            f"{path} cannot be read ({reason}); give a folder written by compare --study"
        ) from None
    try:
        page = StudyPage.model_validate(json.loads(found[1] if found else ""))
        files = page.files
    except (ValueError, LookupError):
        raise UsageError(
            f"{path} is not a {FORMAT} page of version {VERSION}; write it again with "
            "compare --study"
        ) from None
    missing = sorted(name for name in files if not (folder / name).is_file())
    if missing:
        raise UsageError(f"{folder} lacks {len(missing)} images of its study, such as {missing[0]}")
    return page
