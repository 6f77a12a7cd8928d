"""The images of WebDataset tars: the headers of a tar, and `pack.json`, the index of a pack."""

import json
import tarfile
from collections import defaultdict
from typing import Any, BinaryIO, NamedTuple

from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.data.decoding.files import IMAGE_SUFFIXES

PACK = "pack.json"
"""Written last: a folder without it is an unfinished pack."""

VERSION = 2

JSON_FIELD = "json."
"""Start of a column's name that denotes a field of the JSON member."""


class TarIndex(NamedTuple):
    """The images of a tar, in its order.

    Attributes:
        names: Names of the images.
        offsets: Position of each image's file in the tar, in bytes.
        sizes: Bytes of each image's file.
        labels: Class names, "" for none; an empty list if the tar has none.
        texts: Texts, in the same form.
        extensions: Extensions of all members.
    """

    names: list[str]
    offsets: list[int]
    sizes: list[int]
    labels: list[str]
    texts: list[str]
    extensions: list[str]


class PackedTar(NamedTuple):
    """A tar of a pack: file name, bytes, SHA-256, broken images with reasons, and images.

    The file name is the split, `-` and a number. A tar without images has no file.
    """

    file: str
    bytes: int
    sha256: str
    broken: list[tuple[str, str]]
    images: TarIndex

    @property
    def split(self) -> str:
        """Return "train", "val" or "test"."""
        return self.file.partition("-")[0]


class Pack(NamedTuple):
    """The content of `pack.json`: what was packed (settings, and a digest of names), and tars."""

    plan: dict[str, Any]
    tars: list[PackedTar]

    def dump(self) -> str:
        """Return the content of the file."""
        tars = [tar._asdict() | {"images": tar.images._asdict()} for tar in self.tars]
        return json.dumps({"version": VERSION, "plan": self.plan, "tars": tars}) + "\n"


def parse_pack(content: bytes, location: str) -> Pack:
    """Return the content of `pack.json`; a UsageError if it is not one of this version."""
    try:
        found = json.loads(content)
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']}, not {VERSION}")
        tars = [PackedTar(**tar | {"images": TarIndex(**tar["images"])}) for tar in found["tars"]]
        for images in (tar.images for tar in tars):
            if not len(images.names) == len(images.offsets) == len(images.sizes):
                raise ValueError("its lists differ in length")
        return Pack({"size": None, **found["plan"]}, tars)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"{location} is not an index that this lightning-colorize reads "
            f"({first_line(error)}): pack the images again into a new folder"
        ) from error


def index_of(file: BinaryIO, image: str | None, label: str | None, text: str | None) -> TarIndex:
    """Return the index of a tar.

    Args:
        file: The tar, open for reading.
        image: Extension of the images; None for any image format.
        label: Extension of the members with the class, or `json.FIELD`; None for no labels.
        text: The same of the texts.

    Raises:
        ValueError: If the tar is damaged, or has several images with the same key.
    """
    samples: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)
    index = TarIndex([], [], [], [], [], [])
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                folder, slash, base = member.name.removeprefix("./").rpartition("/")
                stem, _, extension = base.partition(".")
                if stem and member.isreg():
                    samples[f"{folder}{slash}{stem}"][extension.lower()] = member
            # tarfile stops silently at a damaged header.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise ValueError(f"damaged or truncated at byte {tar.offset:,}")
            for key, members in samples.items():
                accepted = {image} if image else {suffix[1:] for suffix in IMAGE_SUFFIXES}
                found = [extension for extension in members if extension in accepted]
                if len(found) > 1:
                    raise ValueError(f"{key} has {' and '.join(found)}: choose with source.image")
                for extension in found:
                    member = members[extension]
                    index.names.append(member.name.removeprefix("./"))
                    index.offsets.append(member.offset_data)
                    index.sizes.append(member.size)
                    for column, notes in ((label, index.labels), (text, index.texts)):
                        if column is not None:
                            notes.append(_note(tar, members, column))
    except tarfile.TarError as error:
        raise ValueError(first_line(error)) from error
    return index._replace(extensions=sorted({e for members in samples.values() for e in members}))


def _note(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], column: str) -> str:
    """Return the content of a member, or of a field in its JSON; "" if there is none."""
    as_json = column.startswith(JSON_FIELD)
    member = members.get("json" if as_json else column)
    file = None if member is None else tar.extractfile(member)
    if member is None or file is None:
        return ""
    try:
        text = file.read().decode()
        value = json.loads(text).get(column.removeprefix(JSON_FIELD)) if as_json else text
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{member.name}: {error}") from error
    return "" if value is None else str(value).strip()
