"""Comparing measured figures with expected ones."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, Field, model_validator

_ORIGIN = ("command", "environment")  # of every report: when, where and by what
_CHANGING = ("git_commit", "load_average")
_MISSING = "missing"


class Tolerance(BaseModel, extra="forbid", frozen=True):
    """How far a figure may be from the expected one; exactly one of these.

    Attributes:
        absolute: Largest difference.
        relative: Largest difference as a share of the expected figure.
        factor: Largest ratio of the greater to the smaller one; both are positive.
    """

    absolute: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    relative: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("give one of absolute, relative and factor")
        return self

    def accepts(self, expected: float, measured: float) -> bool:
        """Return whether a measured figure is near enough."""
        if self.factor is not None:
            low, high = sorted((expected, measured))
            return low > 0 and high <= self.factor * low
        limit = self.absolute if self.relative is None else self.relative * abs(expected)
        return abs(measured - expected) <= limit

    def __str__(self) -> str:
        if self.factor is not None:
            return f"factor {self.factor:g}"
        return f"{self.absolute:g}" if self.relative is None else f"{self.relative:.2%}"


Rule = Tolerance | Literal["shown", "ignored"]
"""`shown` is not compared; `ignored` is not even shown, and may be missing."""


class Row(NamedTuple):
    """A figure: its name, its values as text, its tolerance, and whether they are the same.

    `same` is None if it is not compared.
    """

    figure: str
    expected: str
    measured: str
    tolerance: str
    same: bool | None


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values inside dictionaries and lists by name, such as `rows/0/metrics/psnr`.

    The items of a list have their own names instead of numbers where they have some, as their order
    may depend on the measured values. `rows/#` is the length of the list `rows`.
    """
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(zip(_labels(value), value, strict=True))
        yield f"{name}/#", len(value)
    else:
        yield name, value
        return
    for key, each in items:
        yield from flatten(each, f"{name}/{key}" if name else str(key))


def _labels(items: list[Any]) -> list[str]:
    """Return the names of a list's items: systems, trials and stages have their own."""
    for key in ("name", "what", "detail"):
        if all(isinstance(item, dict) and key in item for item in items):
            own = [item[key] for item in items]
            labels = [", ".join(map(str, o)) if isinstance(o, list) else str(o) for o in own]
            if len(set(labels)) == len(labels):
                return labels
    return [str(index) for index in range(len(items))]


def figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a report by name, without its command and environment."""
    return dict(flatten({k: v for k, v in report.items() if k not in _ORIGIN}))


def find_rule(name: str, rules: Mapping[str, Rule]) -> Rule:
    """Return the first rule whose pattern matches; otherwise figures must be equal."""
    found = (rule for pattern, rule in rules.items() if fnmatchcase(name, pattern))
    return next(found, Tolerance(absolute=0))


def compare_figures(
    expected: Mapping[str, Any], measured: Mapping[str, Any], rules: Mapping[str, Rule]
) -> list[Row]:
    """Compare two reports.

    Args:
        expected: The report in the repository.
        measured: The new report.
        rules: Rules by pattern of the figures' names.

    Returns:
        A row for each number and for whatever else is not the same, in the order of `expected`;
        then the figures that only `measured` has, which are not compared.
    """
    theirs, ours = figures(expected), figures(measured)
    rows = []
    for name, value in theirs.items():
        if (rule := find_rule(name, rules)) == "ignored":
            continue
        other = ours.get(name, _MISSING)
        both = _text(value), _text(other)
        if rule == "shown":
            rows.append(Row(name, *both, "-", None))
        elif _is_number(value) and _is_number(other):
            rows.append(Row(name, *both, str(rule), rule.accepts(value, other)))
        elif value != other:
            rows.append(Row(name, *both, "equal", False))
    new = [name for name in ours if name not in theirs and find_rule(name, rules) != "ignored"]
    return rows + [Row(name, _MISSING, _text(ours[name]), "-", None) for name in new]


def compare_images(expected: Path, measured: Path, limits: Mapping[str, float]) -> list[Row]:
    """Compare images below two folders by the mean difference of their 8-bit values."""
    from lightning_colorize.data.decoding.files import read_image

    def difference(name: str) -> float | str:
        if not (measured / name).is_file():
            return _MISSING
        ours, theirs = read_image(measured / name), read_image(expected / name)
        if ours.shape != theirs.shape:
            return "another size"
        return (ours.float() - theirs.float()).abs().mean().item()

    rows = []
    for name, limit in limits.items():
        found = difference(name)
        is_same = not isinstance(found, str) and found <= limit
        shown = found if isinstance(found, str) else f"{found:.3g}"
        rows.append(Row(name, "0", shown, f"{limit:g}", is_same))
    return rows


def changed_environment(expected: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Return what differs between the machines and versions of two reports, one a line.

    The load is named if there are more processes than cores now: speeds, and their ratios, suffer.
    """
    before, now = (report["environment"] for report in (expected, measured))
    theirs, ours = (
        dict(flatten({k: v for k, v in each.items() if k not in _CHANGING}))
        for each in (before, now)
    )
    lines = [
        f"{name}: {theirs.get(name, _MISSING)}, now {ours.get(name, _MISSING)}"
        for name in theirs | ours
        if theirs.get(name, _MISSING) != ours.get(name, _MISSING)
    ]
    loads = [each.get("load_average", [0])[0] for each in (before, now)]
    if loads[1] > ours.get("cpu_count", loads[1]):
        lines.append("load_average: {:.1f}, now {:.1f}".format(*loads))
    return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return f"{value:.6g}" if _is_number(value) else str(value)
