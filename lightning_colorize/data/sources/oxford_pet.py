"""The Oxford-IIIT Pet data set, by breed."""

import shutil
import socket
import tarfile
import threading
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from torchvision.datasets import OxfordIIITPet

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.images import FileImages
from lightning_colorize.data.sources.base import (
    Root,
    Source,
    SourceError,
    Splits,
    require_local,
)
from lightning_colorize.data.sources.listing import list_images, listed_names
from lightning_colorize.data.splits import DEFAULT_SHARES, split_names

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"


class OxfordPetSource(Source):
    """The Oxford-IIIT Pet data set (7,390 photographs, 37 breeds), by breed.

    Images are read from `ROOT/oxford-iiit-pet/images`, where torchvision puts them, or from
    `ROOT/images`; annotations are not needed. Splits go by a hash of the file name.

    Args:
        breed: One breed, as its files are named (`basset_hound`, `Abyssinian`); null for all.
        download: Fetch the data set into ROOT if it is not there (810 MB).
        splits: Shares or counts of train, val and test; by default
            `{train: 134, val: 36, test: 30}` for the 200 basset hounds, the published division,
            and `{train: 0.8, val: 0.1, test: 0.1}` for others.
        exclude_list: Leave out the images named in this text file, one a line, of whatever split
            they are; nothing else moves, so what is published of a division stays comparable. The
            list of `audit` and the `broken.txt` of a run are such files.
    """

    def __init__(
        self,
        breed: str | None = "basset_hound",
        download: bool = True,
        splits: dict[str, float] | None = None,
        exclude_list: Path | None = None,
    ) -> None:
        self.breed = breed
        self.download = download
        self.shares = splits
        self.exclude_list = exclude_list

    def prepare(self, root: Root | None) -> None:
        """Fetch the data set if it is missing and `download` is set.

        Args:
            root: The folder, made if need be.

        Raises:
            SourceError: If it cannot be fetched, with what to put where by hand.
        """
        folder = _folder(root)
        if not self.download or _images(folder) is not None:
            return
        if not answers(PAGE):
            raise SourceError(
                f"{PAGE} cannot be reached to fetch the Oxford-IIIT Pets: {_by_hand(folder)}"
            )
        fetch(folder)

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split, named by their files.

        Args:
            root: The folder that holds the data set.

        Raises:
            SourceError: If the data set is not there, or lacks the breed, or `exclude_list` is of
                another one, or leaves nothing of the breed.
        """
        folder = _folder(root)
        images = _images(folder)
        if images is None:
            raise SourceError(
                f"{folder} does not hold the Oxford-IIIT Pet data set: {_by_hand(folder)}"
            )
        names = list_images(images)
        excluded = listed_names(self.exclude_list, names, images)
        shares = dict(self.shares or DEFAULT_SHARES)
        if self.breed is not None:
            breed = self.breed.lower().replace(" ", "_")
            if self.shares is None and breed == "basset_hound":
                shares = {"train": 134, "val": 36, "test": 30}
            breeds = sorted({_breed(name) for name in names})
            names = [name for name in names if _breed(name).lower() == breed]
            if not names:
                raise SourceError(
                    f"{images} has no breed '{self.breed}'; it has {', '.join(breeds)}"
                )
        try:
            parts = split_names(names, shares)
        except UsageError as error:
            raise SourceError(f"{images}, {self.breed or 'all breeds'}: {error}") from error
        kept = {
            split: [name for name in part if name not in excluded] for split, part in parts.items()
        }
        splits: Splits = {s: FileImages(images, part) for s, part in kept.items() if part}
        if not splits:
            raise SourceError(f"{images}: exclude_list leaves no image of breed '{self.breed}'")
        return splits


def _folder(root: Root | None) -> Path:
    if root is None:
        raise SourceError(
            "OxfordPetSource needs a folder to keep the data set in: pass --data.root FOLDER"
        )
    return require_local(root, "OxfordPetSource")


def _images(folder: Path) -> Path | None:
    """Return where the images are, or None."""
    places = (folder / "oxford-iiit-pet" / "images", folder / "images")
    return next((place for place in places if place.is_dir()), None)


def _by_hand(folder: Path) -> str:
    return f"put images.tar.gz from {PAGE} into {folder / 'oxford-iiit-pet'} and unpack it there"


def _breed(name: str) -> str:
    """Return `basset_hound` of `basset_hound_12.jpg`."""
    return name.rpartition("_")[0]


def answers(url: str, seconds: float = 5.0) -> bool:
    """Say whether a web page answers within some seconds, through the proxy that is set, if any."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=seconds).close()
        except HTTPError:
            pass  # an answer, though not the page
        except (OSError, HTTPException):
            return
        answered.set()

    # A thread, since looking a name up knows no time limit.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered.is_set()


def fetch(root: Path) -> None:
    """Fetch the data set through torchvision into `root/oxford-iiit-pet`.

    Args:
        root: The folder, made if need be.

    Raises:
        SourceError: If it fails, or if nothing arrives for 30 s.
    """
    former = socket.getdefaulttimeout()
    # torchvision sets no limit: on a line that breaks it would wait for ever.
    socket.setdefaulttimeout(30.0)
    complete = False
    try:
        root.mkdir(parents=True, exist_ok=True)
        OxfordIIITPet(root, download=True)
        complete = True
    except (OSError, HTTPException, RuntimeError, EOFError, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(
            f"fetching the Oxford-IIIT Pet set failed ({reason}): try again, or {_by_hand(root)}"
        ) from error
    finally:
        socket.setdefaulttimeout(former)
        # Images unpacked in part would be taken for the whole set next time.
        if not complete:
            shutil.rmtree(root / "oxford-iiit-pet" / "images", ignore_errors=True)
