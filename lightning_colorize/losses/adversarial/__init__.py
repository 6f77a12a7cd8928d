"""Adversarial losses: one per file."""

from lightning_colorize.losses.adversarial.base import AdversarialLoss
from lightning_colorize.losses.adversarial.bce import BCEAdversarial
from lightning_colorize.losses.adversarial.hinge import Hinge
from lightning_colorize.losses.adversarial.lsgan import LSGAN

__all__ = ["LSGAN", "AdversarialLoss", "BCEAdversarial", "Hinge"]
