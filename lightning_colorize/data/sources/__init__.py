"""Where photographs come from: each source gives the pictures of up to three splits."""

from lightning_colorize.data.sources.base import Source, SourceError, Splits
from lightning_colorize.data.sources.embedded import EmbeddedSource
from lightning_colorize.data.sources.folder import FolderSource
from lightning_colorize.data.sources.imagenet import ImageNetSource
from lightning_colorize.data.sources.manifest import ManifestSource
from lightning_colorize.data.sources.mixture import MixtureFolder, MixtureSource
from lightning_colorize.data.sources.oxford_pet import OxfordPetSource

__all__ = [
    "EmbeddedSource",
    "FolderSource",
    "ImageNetSource",
    "ManifestSource",
    "MixtureFolder",
    "MixtureSource",
    "OxfordPetSource",
    "Source",
    "SourceError",
    "Splits",
]
