"""Discriminators: grey and colours to logits, real or predicted."""

from lightning_colorize.networks.discriminators.patch import PatchDiscriminator

__all__ = ["PatchDiscriminator"]
