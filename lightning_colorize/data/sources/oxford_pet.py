"""The Oxford-IIIT Pet data set, by breed."""

import re
import shutil
import socket
import tarfile
from http.client import HTTPException
from pathlib import Path

from torchvision.datasets import OxfordIIITPet

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.image_set import FileImages, NameList, Notes
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, require_local
from lightning_colorize.data.sources.listing import list_images, listed_names
from lightning_colorize.data.splits import DEFAULT_SHARES, split_names

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"

# torchvision's folder, the archive's own, Kaggle's doubled one, and the same below a parent folder.
_IMAGE_FOLDERS = (
    "oxford-iiit-pet/images",
    *(f"{parents}images{doubled}" for parents in ("", "*/", "*/*/") for doubled in ("", "/images")),
)
_IMAGE_FILE = re.compile(r"[a-z].*_\d+\.jpg", re.IGNORECASE)


class OxfordPetSource(Source):
    """The Oxford-IIIT Pet data set (7,390 photographs, 37 breeds), by breed.

    The images are found in `ROOT/oxford-iiit-pet/images`, where torchvision puts them, in
    `ROOT/images`, in `ROOT/images/images` (Kaggle's copy), one or two folders deeper, or in ROOT
    itself. Annotations are not needed. Splits depend on a hash of the file name alone.

    Args:
        breed: One breed, as its files are named (`basset_hound`, `Abyssinian`); null for all,
            then the breeds are the labels.
        download: Download the data set into ROOT if it is missing (810 MB).
        splits: Shares or counts of train, val and test; by default
            `{train: 134, val: 36, test: 30}` for the 200 basset hounds, the published counts,
            and `{train: 0.8, val: 0.1, test: 0.1}` for others.
        exclude_list: Text file of names to leave out, one per line, such as the list of `audit` or
            a run's `broken.txt`. The other images stay in their splits.
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
        """Download the data set if it is missing and `download` is set.

        Raises:
            SourceError: If the download fails, or stalls for 10 s; the message says how to do it by
                hand.
        """
        folder = require_local(root, "OxfordPetSource")
        if not self.download or _find_images(folder) is not None:
            return
        former = socket.getdefaulttimeout()
        # torchvision sets no timeout: a stalled download would never end.
        socket.setdefaulttimeout(10.0)
        complete = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            OxfordIIITPet(folder, download=True)
            complete = True
        except (OSError, HTTPException, RuntimeError, EOFError, tarfile.TarError) as error:
            reason = " ".join(str(error).split())
            raise SourceError(
                f"downloading the Oxford-IIIT Pet set failed ({reason}): try again, or "
                f"{_by_hand(folder)}"
            ) from error
        finally:
            socket.setdefaulttimeout(former)
            # A partly unpacked folder would be taken for the whole set by the next run.
            if not complete:
                shutil.rmtree(folder / "oxford-iiit-pet" / "images", ignore_errors=True)

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split, named by their files.

        Raises:
            SourceError: If the data set or the breed is missing, or `exclude_list` names other
                images or all of the breed.
        """
        folder = require_local(root, "OxfordPetSource")
        images = _find_images(folder)
        if images is None:
            raise SourceError(
                f"{folder} does not contain the Oxford-IIIT Pet data set: {_by_hand(folder)}"
            )
        names = [name for name in list_images(images) if "/" not in name]
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
        splits: Splits = {}
        for split, part in parts.items():
            if left := [name for name in part if name not in excluded]:
                labels = NameList(map(_breed, left)) if self.breed is None else None
                splits[split] = FileImages(images, left, notes=Notes(labels))
        if not splits:
            raise SourceError(f"{images}: exclude_list leaves no image of breed '{self.breed}'")
        return splits


def _find_images(root: Path) -> Path | None:
    """Return the first folder that contains files such as `beagle_1.jpg`, or None."""
    folders = [folder for pattern in _IMAGE_FOLDERS for folder in sorted(root.glob(pattern))]
    for folder in filter(Path.is_dir, [*folders, root]):
        if any(_IMAGE_FILE.fullmatch(file.name) for file in folder.iterdir()):
            return folder
    return None


def _by_hand(folder: Path) -> str:
    return f"put images.tar.gz from {PAGE} into {folder / 'oxford-iiit-pet'} and unpack it there"


def _breed(name: str) -> str:
    """Return `basset_hound` of `basset_hound_12.jpg`."""
    return name.rpartition("_")[0]
