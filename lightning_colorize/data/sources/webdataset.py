"""WebDataset tars, read at random by the offsets of their members."""

import json
import re
import tarfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from glob import escape
from hashlib import sha256
from os.path import abspath, basename, commonpath, dirname, relpath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_colorize.common.files import cache_folder, write_atomic
from lightning_colorize.common.progress import progress
from lightning_colorize.data.decoding.files import IMAGE_SUFFIXES, ImageError
from lightning_colorize.data.image_set import NameList, Notes
from lightning_colorize.data.shards.check import ShardError
from lightning_colorize.data.shards.store import one_line, with_retries
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.containers import Part, split_parts, unique_names
from lightning_colorize.data.splits import split_of

_SHOWN = 10  # extensions in an error message
_FIELD = "json."


class WebDatasetSource(Source):
    """WebDataset tars: local, or at any URL that fsspec supports.

    The root is a folder of tars, a pattern such as `shards/*.tar`, or a list such as
    `s3://bucket/{train,val}-{000..009}.tar`. The headers of all tars are read once, and the index
    is cached; images are then read one by one by their offset. Through a URL, the first start reads
    the tars completely.

    Members with the same path up to the first dot of the file name belong together: an image, its
    class, its text. If names of tars or of their folders contain train, val (or validation) or test
    as a word, these are the splits; without val, it is a tenth of train. Otherwise images are split
    by a hash of the names. An image's name is its member's; an image that repeats an earlier name
    has its tar's name in front.

    Args:
        image: Extension of the images, such as `input.png`; by default any image format.
        label: Extension of the members with the class, such as `cls`, or `json.FIELD`.
        text: Extension of the members with the text, such as `txt`, or `json.FIELD`.
        exclude_list: Text file of names to leave out, one per line, such as the list of `audit` or
            a run's `broken.txt`.
        splits: How to divide tars without splits, as in FolderSource.
        storage_options: Options of fsspec's file system, such as `{anon: true}`. They are stored
            in the run's configuration: pass secrets through environment variables instead.
    """

    def __init__(
        self,
        image: str | None = None,
        label: str | None = None,
        text: str | None = None,
        exclude_list: Path | None = None,
        splits: dict[str, float] | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        # As in the index; the name of a field keeps its case.
        self.image = None if image is None else image.lower()
        self.label, self.text = (
            own if own is None or own.startswith(_FIELD) else own.lower() for own in (label, text)
        )
        self.exclude_list = exclude_list
        self.shares = splits
        self.storage_options = storage_options or {}

    def prepare(self, root: Root | None) -> None:
        """Write the index."""
        self.splits(root)

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split.

        Raises:
            SourceError: If a tar is missing or damaged, no member is an image or has the extension
                of the labels or texts, or `exclude_list` names other images.
        """
        if root is None:
            raise SourceError("WebDatasetSource needs tars: pass --data.root FOLDER, or 'A-*.tar'")
        system, paths = self._tars(root)
        with ThreadPoolExecutor() as threads:  # a remote file system answers slowly
            read = partial(_read_index, system, image=self.image, columns=(self.label, self.text))
            indices = threads.map(read, paths)
            found = list(progress(indices, len(paths), "reading tars"))
        every = sorted({own for index in found for own in index.extensions})
        extensions = ", ".join(every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")
        for option, column in (("image", 0), ("label", 3), ("text", 4)):
            wanted = getattr(self, option)
            if not any(image[column] for index in found for image in index.images) and (
                wanted is not None or option == "image"
            ):
                missing = "image" if wanted is None else f"{option} .{wanted}"
                raise SourceError(f"{root}: no {missing} in the tars, only {extensions}")
        folder = commonpath([dirname(path) for path in paths])
        by_split = defaultdict(list)
        for path, index in zip(paths, found, strict=True):
            by_split[_split_in(relpath(path, folder))].append((path, index.images))
        parts = {split: self._part(system, tars) for split, tars in by_split.items()}
        return split_parts(parts, self.shares, self.exclude_list, root)

    def _tars(self, root: Root) -> tuple[Any, list[str]]:
        from fsspec.core import get_fs_token_paths  # type: ignore[import-untyped]

        if isinstance(root, Path) and root.is_dir():
            patterns = [f"{escape(abspath(root))}/**/*.tar"]
        else:
            pattern = root.rstrip("/") if isinstance(root, str) else abspath(root)
            patterns = expand_braces(pattern if pattern.endswith(".tar") else f"{pattern}/**/*.tar")
        try:
            system, _, paths = get_fs_token_paths(patterns, storage_options=self.storage_options)
        except Exception as error:  # file systems raise classes of their own
            raise SourceError(f"{root}: {one_line(error)}") from error
        if not paths:
            raise SourceError(f"{root} matches no tar")
        return system, sorted({*paths})

    def _part(self, system: Any, tars: list[tuple[str, list["_Image"]]]) -> Part:
        names = unique_names(
            (basename(path), image.name) for path, images in tars for image in images
        )
        every = [image for _, images in tars for image in images]
        notes = Notes(
            None if self.label is None else NameList(image.label for image in every),
            None if self.text is None else NameList(image.text for image in every),
        )
        ends = np.cumsum([len(images) for _, images in tars])
        places = np.array([(image.offset, image.size) for image in every], dtype=np.int64)
        return Part(names, notes, _Members(system, [path for path, _ in tars], ends, places))


def expand_braces(pattern: str) -> list[str]:
    """Return the patterns that `{000..009}` and `{a,b}` stand for, as in a shell."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    words = found[1].split(",")
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", found[1]):
        first, last = numbers.groups()
        words = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [each for word in words for each in expand_braces(f"{head}{word}{tail}")]


def _split_in(name: str) -> str:
    """Return the last word of a tar's name that denotes a split, or ""."""
    splits = filter(None, map(split_of, re.findall("[a-z]+", name.lower())))
    return next(iter(reversed(list(splits))), "")


class _Image(NamedTuple):
    """An image in a tar: its name, the position of its content in bytes, and its notes."""

    name: str
    offset: int
    size: int
    label: str
    text: str


class _Index(NamedTuple):
    """The images of a tar, in its order, and the extensions of all members."""

    images: list[_Image]
    extensions: list[str]


def _read_index(
    system: Any, path: str, image: str | None, columns: tuple[str | None, str | None]
) -> _Index:
    """Return the index of a tar, from the cache if the tar is the same.

    Raises:
        SourceError: If it is missing, damaged, or has several images with the same key.
    """

    def read() -> _Index:
        info = system.info(path)
        # fsspec's `ukey` of a URL is the URL, whatever the file is.
        changed = [info.get(name) for name in ("ETag", "LastModified", "mtime")]
        stamp = repr((path, system.ukey(path), info["size"], changed, image, columns))
        cached = cache_folder("tars") / f"{sha256(stamp.encode()).hexdigest()}.json"
        with suppress(OSError, ValueError):
            images, extensions = json.loads(cached.read_bytes())
            return _Index([_Image(*each) for each in images], extensions)
        index = _index_of(system, path, image, columns)
        with suppress(OSError):  # the next start reads the headers again
            write_atomic(cached, json.dumps(index))
        return index

    try:
        return with_retries(read, path)
    except Exception as error:  # file systems raise classes of their own
        raise SourceError(f"{path} cannot be read as a tar: {one_line(error)}") from error


def _index_of(
    system: Any, path: str, wanted: str | None, columns: tuple[str | None, str | None]
) -> _Index:
    by_key: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)
    try:
        with system.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                folder, slash, base = member.name.removeprefix("./").rpartition("/")
                stem, _, extension = base.partition(".")
                if stem and member.isreg():
                    by_key[f"{folder}{slash}{stem}"][extension.lower()] = member
            # tarfile stops silently at a damaged header.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise ValueError(f"damaged or truncated at byte {tar.offset:,}")
            images = []
            for key, members in by_key.items():
                if wanted is None:
                    own = [each for each in members if f".{each}" in IMAGE_SUFFIXES]
                else:
                    own = [wanted] if wanted in members else []
                if len(own) > 1:
                    raise ValueError(f"{key} has {' and '.join(own)}: choose with source.image")
                if own:
                    member = members[own[0]]
                    notes = [_note(tar, members, column) for column in columns]
                    name = member.name.removeprefix("./")
                    images.append(_Image(name, member.offset_data, member.size, *notes))
    except tarfile.TarError as error:
        raise ValueError(one_line(error)) from error  # which is not retried
    return _Index(images, sorted({each for members in by_key.values() for each in members}))


def _note(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], column: str | None) -> str:
    """Return the content of a member, or of a field in its JSON; "" if there is none."""
    if column is None:
        return ""
    as_json = column.startswith(_FIELD)
    member = members.get("json" if as_json else column)
    file = None if member is None else tar.extractfile(member)
    if member is None or file is None:
        return ""
    try:
        text = file.read().decode()
        value = json.loads(text).get(column.removeprefix(_FIELD)) if as_json else text
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{member.name}: {error}") from error
    return "" if value is None else str(value).strip()


class _Members:
    """Returns the content of a member of tars.

    `ends`, (T,), is the number of images up to the end of each tar. `places`, (N, 2), has the
    offset and size of each image in bytes.
    """

    def __init__(self, system: Any, paths: list[str], ends: np.ndarray, places: np.ndarray) -> None:
        self.system = system
        self.paths = paths
        self.ends = ends
        self.places = places

    def __call__(self, row: int, name: str) -> bytes:
        path = self.paths[int(np.searchsorted(self.ends, row, side="right"))]
        start, size = self.places[row].tolist()

        from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

        def cat() -> bytes:
            # Ten times as fast as fsspec's own reading.
            if isinstance(self.system, LocalFileSystem):
                with open(path, "rb", buffering=0) as file:
                    file.seek(start)
                    return file.read(size)
            # fsspec caches one for each process: s3fs and its like do not survive a fork.
            system = type(self.system)(*self.system.storage_args, **self.system.storage_options)
            return bytes(system.cat_file(path, start=start, end=start + size))

        try:
            data = with_retries(cat, path)
        except Exception as error:  # file systems raise classes of their own
            advice = "resume the run when it can be read"
            raise ShardError(path, one_line(error), 1, advice) from error
        if len(data) < size:
            raise ImageError(Path(name), "truncated")
        return data
