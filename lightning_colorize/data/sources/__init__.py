"""Data sources: each one lists the images of the train, val and test splits."""

from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, parse_root
from lightning_colorize.data.sources.embedded import EmbeddedSource
from lightning_colorize.data.sources.folder import FolderSource
from lightning_colorize.data.sources.huggingface import HuggingFaceSource
from lightning_colorize.data.sources.imagenet import ImageNetSource
from lightning_colorize.data.sources.manifest import ManifestSource
from lightning_colorize.data.sources.mixture import MixtureFolder, MixtureSource
from lightning_colorize.data.sources.oxford_pet import OxfordPetSource
from lightning_colorize.data.sources.webdataset import WebDatasetSource, is_pack

__all__ = [
    "EmbeddedSource",
    "FolderSource",
    "HuggingFaceSource",
    "ImageNetSource",
    "ManifestSource",
    "MixtureFolder",
    "MixtureSource",
    "OxfordPetSource",
    "Root",
    "Source",
    "SourceError",
    "Splits",
    "WebDatasetSource",
    "default_source",
    "is_pack",
    "parse_root",
]


def default_source(root: Root | None) -> Source:
    """Return the default source: scikit-image's photographs, tars (URL or pack), or a folder."""
    if root is None:
        return EmbeddedSource()
    return WebDatasetSource() if isinstance(root, str) or is_pack(root) else FolderSource()
