"""Where photographs come from: each source gives the images of up to three splits."""

from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, parse_root
from lightning_colorize.data.sources.default import default_source
from lightning_colorize.data.sources.embedded import EmbeddedSource
from lightning_colorize.data.sources.folder import FolderSource
from lightning_colorize.data.sources.imagenet import ImageNetSource
from lightning_colorize.data.sources.manifest import ManifestSource
from lightning_colorize.data.sources.mixture import MixtureFolder, MixtureSource
from lightning_colorize.data.sources.oxford_pet import OxfordPetSource
from lightning_colorize.data.sources.shards import ShardSource, is_pack

__all__ = [
    "EmbeddedSource",
    "FolderSource",
    "ImageNetSource",
    "ManifestSource",
    "MixtureFolder",
    "MixtureSource",
    "OxfordPetSource",
    "Root",
    "ShardSource",
    "Source",
    "SourceError",
    "Splits",
    "default_source",
    "is_pack",
    "parse_root",
]
