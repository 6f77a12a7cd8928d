"""The images to leave out, in the form that a source's `exclude_list` takes."""

from collections.abc import Iterator, Mapping

from lightning_colorize.data.audit.result import Audit
from lightning_colorize.data.name_list import name_line


def exclusion_list(found: Audit) -> dict[int, str]:
    """Return the numbers of the images to leave out, each with the reason.

    Broken, tiny and near-grey images, those in ink without a profile, and of images that are
    there more than once all but one.
    """
    excluded: dict[int, str] = {}
    for index, reason in _faults(found):
        excluded.setdefault(index, reason)
    return excluded


def as_text(found: Audit, excluded: Mapping[int, str]) -> str:
    """Return such a list as a file has it: each name under its reason, which is a comment."""
    return "".join(
        f"# {' '.join(reason.split())}\n{name_line(found.images.name(index))}\n"
        for index, reason in excluded.items()
    )


def _faults(found: Audit) -> Iterator[tuple[int, str]]:
    looks = found.looks
    for index, error in found.broken.items():
        yield index, f"broken: {error.reason}"
    for index in map(int, found.tiny):
        yield index, f"tiny: {looks['width'][index]} x {looks['height'][index]}"
    for index in map(int, found.unsure_cmyk):
        yield index, "CMYK without a profile: its colours are a guess"
    for index in map(int, found.near_grey):
        yield index, f"near-grey: 95 % of it below chroma {looks['chroma'][index]:.1f}"
    for group in found.groups:
        kept = f"{found.images.name(group.kept)} ({found.split(group.kept)})"
        for index in map(int, group.copies):
            same = looks["digest"][index] == looks["digest"][group.kept]
            yield index, f"{'copy' if same else 'near duplicate'} of {kept}"
