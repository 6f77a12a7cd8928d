"""The stages of GAN training, and checks of its settings."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from lightning_colorize.common.errors import UsageError

_PRECISIONS = (None, "bf16-mixed", "32-true", "64-true", "bf16", "32", "64", 32, 64)


class Stage(Enum):
    """The networks that are trained."""

    GENERATOR = "generator"
    DISCRIMINATOR = "discriminator"
    BOTH = "both"


def refuse_trainer(trainer: Mapping[str, Any], alone_epochs: int) -> None:
    """Refuse Trainer settings that Lightning's manual optimization or the stages do not support."""
    for key, neutral in (("gradient_clip_val", None), ("accumulate_grad_batches", 1)):
        if trainer[key] != neutral:
            raise UsageError(
                f"--trainer.{key}: {trainer[key]}\naccepted: {'null' if neutral is None else 1}; "
                f"for the two optimizers of a GAN, use --model.{key}"
            )
    if trainer["precision"] not in _PRECISIONS:
        raise UsageError(
            f"--trainer.precision: {trainer['precision']}\naccepted: bf16-mixed, 32-true, "
            "64-true: two optimizers cannot share the scale of 16-mixed, and pure 16 bits round "
            "updates of the moving average to zero"
        )
    if trainer["max_epochs"] is not None and 0 < trainer["max_epochs"] <= alone_epochs:
        raise UsageError(
            f"--trainer.max_epochs: {trainer['max_epochs']}\naccepted: {alone_epochs + 1} or more: "
            "the two networks would never train together; or reduce --model.generator_epochs"
        )


def require_valid(
    every_n_batches: tuple[int, int],
    alone_epochs: tuple[int, int],
    loss_weight: float,
    accumulate_grad_batches: int,
    gradient_clip_val: float | None,
) -> None:
    """Validate the training settings; pairs are (generator, discriminator)."""
    if accumulate_grad_batches < 1:
        raise ValueError(f"accumulate_grad_batches is {accumulate_grad_batches}: at least 1")
    if min(every_n_batches) != 1:
        raise ValueError(
            "generator_every_n_batches and discriminator_every_n_batches are "
            f"{every_n_batches[0]} and {every_n_batches[1]}: one must be 1"
        )
    longest = max(every_n_batches)
    if longest > 1 and longest % accumulate_grad_batches:
        raise ValueError(
            f"a network steps every {longest} batches: this must be a multiple of "
            f"accumulate_grad_batches, {accumulate_grad_batches}"
        )
    if min(*alone_epochs, loss_weight) < 0:
        raise ValueError(
            "generator_epochs, discriminator_epochs and loss_weight must not be negative"
        )
    if alone_epochs[0] and not loss_weight:
        raise ValueError("loss_weight is 0, so generator_epochs would train nothing: set it to 0")
    if gradient_clip_val is not None and not gradient_clip_val > 0:
        raise ValueError(
            f"gradient_clip_val is {gradient_clip_val}: it must be above 0, or null (no limit)"
        )
