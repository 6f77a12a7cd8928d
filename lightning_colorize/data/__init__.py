"""Reading any image file, sources, splits, and the one `ColorizationDataModule`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_colorize.data.module import ColorizationDataModule

__all__ = ["ColorizationDataModule"]


def __getattr__(name: str) -> Any:
    """Import the data module on first use: it needs Lightning, the rest of the package does not."""
    if name == "ColorizationDataModule":
        from lightning_colorize.data.module import ColorizationDataModule

        return ColorizationDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
