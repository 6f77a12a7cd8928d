"""The source that `data.root` alone means."""

from lightning_colorize.data.sources.base import Root, Source
from lightning_colorize.data.sources.embedded import EmbeddedSource
from lightning_colorize.data.sources.folder import FolderSource
from lightning_colorize.data.sources.shards import ShardSource, is_pack


def default_source(root: Root | None) -> Source:
    """Return the source for a root where none is chosen.

    Args:
        root: None for the photographs that come with scikit-image; an address, or a folder with
            `pack.json`, for shards; any other folder for its images.
    """
    if root is None:
        return EmbeddedSource()
    return ShardSource() if isinstance(root, str) or is_pack(root) else FolderSource()
