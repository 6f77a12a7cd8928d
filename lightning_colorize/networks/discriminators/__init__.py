"""Discriminators: (L, ab) to logits."""

from lightning_colorize.networks.discriminators.patch import PatchDiscriminator

__all__ = ["PatchDiscriminator"]
