"""WebDataset tars, read at random by the offsets of their members."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from glob import escape
from hashlib import sha256
from itertools import chain
from os.path import abspath, basename, commonpath, dirname, isfile, relpath
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightning_colorize.common.errors import first_line
from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.files import cache_folder, require_writable, write_atomic
from lightning_colorize.common.progress import progress
from lightning_colorize.common.text import printable
from lightning_colorize.data.decoding.files import IMAGE_SUFFIXES
from lightning_colorize.data.image_set import NameList, Notes
from lightning_colorize.data.shards.files import CheckedTars, Tar, TarCache, with_retries
from lightning_colorize.data.shards.image_set import TarImages
from lightning_colorize.data.shards.index import JSON_FIELD, PACK, TarIndex, index_of, parse_pack
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, report
from lightning_colorize.data.sources.containers import Part, split_parts, unique_names
from lightning_colorize.data.splits import split_of

_SHOWN = 10  # extensions in an error message
_LIBRARIES = {"s3": "s3fs", "http": "aiohttp", "https": "aiohttp"}  # behind fsspec, which is there

Indexed = tuple[Tar, TarIndex]


class WebDatasetSource(Source):
    """WebDataset tars: a pack of `lightning-colorize pack` or others, local or at a URL.

    The root is a folder, a pattern such as `shards/*.tar`, or a list such as
    `s3://bucket/{train,val}-{000..009}.tar`. Any URL that fsspec supports works. Tars at a URL are
    downloaded, prefetched and cached.

    A folder with `pack.json` has the names, splits, labels and texts of the packed images, and each
    tar is verified by its SHA-256 when it is first opened.

    The headers of other tars are read once, and the index is cached. Members with the same path up
    to the first dot of the file name belong together: an image, its class, its text. If names of
    tars or of their folders contain train, val (or validation) or test as a word, these are the
    splits; without val, it is a tenth of train. Otherwise images are split by a hash of the names.
    An image's name is its member's; an image that repeats an earlier name has its tar's name in
    front.

    Args:
        image: Extension of the images, such as `input.png`; by default any image format.
        label: Extension of the members with the class, such as `cls`, or `json.FIELD`.
        text: Extension of the members with the text, such as `txt`, or `json.FIELD`.
        exclude_list: Text file of names to leave out, one per line, such as the list of `audit` or
            a run's `broken.txt`.
        splits: How to divide tars without splits, as in FolderSource.
        on_corrupt: If a tar is missing or damaged: `stop` the run, or `skip` the tar, whose images
            then count as broken.
        window: Number of tars whose images are shuffled together in training.
        cache_dir: Cache of downloaded tars, by default below `~/.cache`. Choose a fast local disk.
        max_cache_bytes: Size limit of the cache; the least recently opened tars are deleted first.
            No limit by default.
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
        on_corrupt: Literal["stop", "skip"] = "stop",
        window: int = 8,
        cache_dir: Path | None = None,
        max_cache_bytes: int | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        if window < 1:
            raise SourceError(f"window is {window}: it must be at least 1")
        # As in the index; the name of a field keeps its case.
        self.image, self.label, self.text = (
            name if name is None or name.startswith(JSON_FIELD) else name.lower()
            for name in (image, label, text)
        )
        self.exclude_list = exclude_list
        self.shares = splits
        self.on_corrupt = on_corrupt
        self.window = window
        self.storage_options = storage_options or {}
        folder = (cache_dir or cache_folder("shards")).expanduser()
        self.cache = TarCache(folder, max_cache_bytes, self.storage_options)

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
        if isinstance(root, str):
            library = _LIBRARIES.get(root.partition(":")[0], "fsspec")
            require_extra("shards", root, library)
            require_writable(self.cache.folder / "new", "cache_dir:")
        content = self._read_pack(root)
        by_split: dict[str, list[Indexed]] = defaultdict(list)
        if content is not None:
            base = str(root).rstrip("/")
            pack = parse_pack(content, f"{base}/{PACK}")
            for packed in pack.tars:
                if packed.images.names:
                    location = f"{base}/{packed.file}"
                    tar = Tar(location, packed.bytes, packed.sha256, packed.sha256)
                    by_split[packed.split].append((tar, packed.images))
            side = pack.plan["size"]
            parts = {split: self._part(tars, side) for split, tars in by_split.items()}
            return split_parts(parts, None, self.exclude_list, root, packed=True)
        found = self._indexed(root)
        self._require_columns(root, [index for _, index in found])
        folder = commonpath([dirname(tar.location) for tar, _ in found])
        for tar, index in found:
            by_split[_split_in(relpath(tar.location, folder))].append((tar, index))
        parts = {split: self._part(tars) for split, tars in by_split.items()}
        return split_parts(parts, self.shares, self.exclude_list, root)

    def _read_pack(self, root: Root) -> bytes | None:
        """Return the content of `pack.json`; None if there is none."""
        if isinstance(root, Path):
            return (root / PACK).read_bytes() if is_pack(root) else None
        if root.endswith(".tar"):
            return None
        url = f"{root.rstrip('/')}/{PACK}"
        try:
            import fsspec  # type: ignore[import-untyped]

            system, path = fsspec.url_to_fs(url, **self.storage_options)
            return bytes(with_retries(lambda: system.cat_file(path), url))
        except FileNotFoundError:
            return None
        except Exception as error:  # file systems raise classes of their own
            raise SourceError(f"{url} cannot be read: {first_line(error)}") from error

    def _part(self, tars: list[Indexed], side: int | None = None) -> Part:
        places = np.array(
            [
                (number, offset, size)
                for number, (_, index) in enumerate(tars)
                for offset, size in zip(index.offsets, index.sizes, strict=True)
            ],
            dtype=np.int64,
        )
        labels = NameList(chain.from_iterable(index.labels for _, index in tars))
        texts = NameList(chain.from_iterable(index.texts for _, index in tars))
        notes = Notes(*(column if len(column) else None for column in (labels, texts)))
        checked = CheckedTars([tar for tar, _ in tars], self.cache, self.on_corrupt == "skip")
        names = unique_names(
            (basename(tar.location), name) for tar, index in tars for name in index.names
        )
        return Part(
            names,
            lambda chosen, rows: TarImages(
                checked, chosen, places[rows], notes.take(rows), self.window, side
            ),
        )

    def _indexed(self, root: Root) -> list[Indexed]:
        """Return the tars of a folder, pattern or list with their indices."""
        from fsspec.core import get_fs_token_paths  # type: ignore[import-untyped]

        if isinstance(root, Path) and root.is_dir():
            patterns = [f"{escape(abspath(root))}/**/*.tar"]
        else:
            pattern = root.rstrip("/") if isinstance(root, str) else abspath(root)
            patterns = expand_braces(pattern if pattern.endswith(".tar") else f"{pattern}/**/*.tar")
        try:
            system, _, paths = get_fs_token_paths(patterns, storage_options=self.storage_options)
        except Exception as error:  # file systems raise classes of their own
            raise SourceError(f"{root}: {first_line(error)}") from error
        if not paths:
            raise SourceError(f"{root} matches no tar")

        def read(path: str) -> Indexed:
            location = system.unstrip_protocol(path) if isinstance(root, str) else path
            try:
                info = with_retries(lambda: system.info(path), location)
                return self._index(location, info)
            except Exception as error:  # file systems raise classes of their own
                raise SourceError(
                    f"{location} cannot be read as a tar: {first_line(error)}"
                ) from error

        paths = sorted({*paths})
        with ThreadPoolExecutor() as threads:  # a remote file system answers slowly
            return list(progress(threads.map(read, paths), len(paths), "reading tars"))

    def _index(self, location: str, info: Mapping[str, Any]) -> Indexed:
        """Return a tar with its index, from the cache if the tar is the same."""
        state = [info.get(name) for name in ("size", "ETag", "LastModified", "mtime", "created")]
        key = sha256(repr((location, state)).encode()).hexdigest()
        tar = Tar(location, info["size"], "", key)
        columns = (self.image, self.label, self.text)
        digest = sha256(repr((key, columns)).encode()).hexdigest()
        cached = cache_folder("tars") / f"{digest}.json"
        with suppress(OSError, ValueError, TypeError):
            return tar, TarIndex(**json.loads(cached.read_bytes()))
        with self.cache.open(tar) as file:
            index = index_of(file, *columns)
        with suppress(OSError):  # the next start reads the headers again
            write_atomic(cached, json.dumps(index._asdict()))
        return tar, index

    def _require_columns(self, root: Root, indices: list[TarIndex]) -> None:
        every = sorted({extension for index in indices for extension in index.extensions})
        extensions = ", ".join(every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")
        for option, found in (
            ("image", any(index.names for index in indices)),
            ("label", self.label is None or any(any(index.labels) for index in indices)),
            ("text", self.text is None or any(any(index.texts) for index in indices)),
        ):
            if not found:
                wanted = getattr(self, option)
                missing = option if wanted is None else f"{option} .{wanted}"
                only = extensions or "empty ones"
                raise SourceError(f"{root}: no {missing} in the tars, only {only}")
        dotted = [e for e in every if "." in e and Path(e).suffix in IMAGE_SUFFIXES]
        if self.image is None and dotted:
            hint = "an extension begins at the first dot; name one as image, or rename the members"
            report(f"{root}: images not used: .{printable(', '.join(dotted[:_SHOWN]))}: {hint}")


def is_pack(root: Path) -> bool:
    """Return whether a folder contains a finished pack."""
    return isfile(root / PACK)


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
    return [path for word in words for path in expand_braces(f"{head}{word}{tail}")]


def _split_in(name: str) -> str:
    """Return the last word of a tar's name that denotes a split, or ""."""
    return ["", *filter(None, map(split_of, re.findall("[a-z]+", name.lower())))][-1]
