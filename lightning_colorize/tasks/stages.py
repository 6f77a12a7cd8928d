"""The stages of a GAN's training, by the epoch."""

from enum import Enum


class Stage(Enum):
    """Which of the two networks is trained."""

    GENERATOR = "generator"
    DISCRIMINATOR = "discriminator"
    BOTH = "both"


def stage_of(epoch: int, generator_epochs: int, discriminator_epochs: int) -> Stage:
    """Return the stage of an epoch, counted from 0.

    Args:
        epoch: Which.
        generator_epochs: First the generator alone, with L1, for so many epochs.
        discriminator_epochs: Then the discriminator alone, for so many; then both.
    """
    if epoch < generator_epochs:
        return Stage.GENERATOR
    if epoch < generator_epochs + discriminator_epochs:
        return Stage.DISCRIMINATOR
    return Stage.BOTH
