"""Settings that do not go together where two optimisers are stepped by hand."""

from collections.abc import Mapping
from typing import Any

from lightning_colorize.common.errors import UsageError

_PRECISIONS = (None, "bf16-mixed", "32-true", "64-true", "bf16", "32", "64", 32, 64)


def refuse_trainer(trainer: Mapping[str, Any], strategy: str) -> None:
    """Refuse settings of the Trainer that manual optimisation cannot obey.

    Args:
        trainer: The `trainer:` part of a configuration.
        strategy: What several processes need.

    Raises:
        UsageError: With what to write instead.
    """
    for key in ("gradient_clip_val", "gradient_clip_algorithm"):
        if trainer[key] is not None:
            raise UsageError(
                f"--trainer.{key}: {trainer[key]}\naccepted: null: a GAN clips the gradient of "
                "each network by itself; write --model.gradient_clip_val NORM"
            )
    if trainer["accumulate_grad_batches"] != 1:
        raise UsageError(
            f"--trainer.accumulate_grad_batches: {trainer['accumulate_grad_batches']}\n"
            "accepted: 1: a GAN steps in every batch; write a larger --data.batch_size"
        )
    if trainer["precision"] not in _PRECISIONS:
        raise UsageError(
            f"--trainer.precision: {trainer['precision']}\naccepted: bf16-mixed, 32-true, "
            "64-true: two optimisers cannot share the scale of 16-mixed, and in 16 bits alone "
            "the average stands still"
        )
    if trainer["strategy"] in ("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook"):
        raise UsageError(
            f"--trainer.strategy: {trainer['strategy']}\naccepted: auto, "
            f"{strategy}: each of a GAN's steps leaves out the other network"
        )


def require_turns(generator_every_n_batches: int, discriminator_every_n_batches: int) -> None:
    """Refuse that both networks rest in a batch.

    Raises:
        ValueError: If neither takes a step in each.
    """
    if min(generator_every_n_batches, discriminator_every_n_batches) != 1:
        raise ValueError(
            "generator_every_n_batches and discriminator_every_n_batches are "
            f"{generator_every_n_batches} and {discriminator_every_n_batches}: one must be 1"
        )


def require_stages(generator_epochs: int, discriminator_epochs: int, l1_weight: float) -> None:
    """Refuse stages that cannot be, or would train nothing.

    Raises:
        ValueError: If a number is negative, or the generator alone has no loss.
    """
    if min(generator_epochs, discriminator_epochs, l1_weight) < 0:
        raise ValueError(
            "generator_epochs, discriminator_epochs and l1_weight must not be negative"
        )
    if generator_epochs and not l1_weight:
        raise ValueError("l1_weight is 0, so generator_epochs would train nothing: write 0")


def require_norm(gradient_clip_val: float | None) -> None:
    """Refuse a limit that would leave nothing of a gradient; None is none.

    Raises:
        ValueError: If it is not above 0.
    """
    if gradient_clip_val is not None and not gradient_clip_val > 0:
        raise ValueError(
            f"gradient_clip_val is {gradient_clip_val}: it must be above 0, or null (no limit)"
        )


def refuse_epochs(epochs: int | None, generator_epochs: int, discriminator_epochs: int) -> None:
    """Refuse a run that ends before both networks are trained together.

    Args:
        epochs: Of the run; None or -1 where time or steps end it.
        generator_epochs: With the generator alone.
        discriminator_epochs: With the discriminator alone.

    Raises:
        UsageError: With what to write instead.
    """
    alone = generator_epochs + discriminator_epochs
    if alone and epochs is not None and 0 < epochs <= alone:
        raise UsageError(
            f"--trainer.max_epochs: {epochs}\naccepted: {alone + 1} or more with "
            f"generator_epochs {generator_epochs} and discriminator_epochs "
            f"{discriminator_epochs}: the two networks would never be trained together; "
            "or write fewer of these"
        )
