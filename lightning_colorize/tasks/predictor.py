"""A trained network alone."""

from collections.abc import Callable
from typing import Any, NoReturn

from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.class_paths import describe, path_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.networks import Colorizer, Decoder, Encoder, FeatureInfo, Head
from lightning_colorize.tasks.base import ColorizationTask
from lightning_colorize.tasks.checkpoint import CLASS_PATH, without_weights


class Predictor(ColorizationTask):
    """The network of an exported model, without a loss: it predicts and is tested.

    Args:
        encoder: From L to features.
        decoder: From features to one map; built from the encoder's levels.
        head: From the decoder's map to a prediction; built from the map's channels.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Callable[[FeatureInfo], Decoder],
        head: Callable[[int], Head],
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        built = decoder(encoder.info)
        self.net = Colorizer(encoder, built, head(built.out_channels))

    def validation_loss(self, prediction: Tensor, batch: ColorBatch) -> NoReturn:
        """Raise an error: an exported model has no loss."""
        raise TypeError("an exported model has no loss: train with RegressionTask or CGANTask")


def predictor_arguments(task: ColorizationTask) -> dict[str, Any]:
    """Return the hyperparameters of a `Predictor` with a task's network.

    Raises:
        UsageError: If the task does not record an encoder.
    """
    given, net = task.hparams, task.net
    if isinstance(task, Predictor):
        return dict(given)
    if not isinstance(given.get("encoder"), dict):
        raise UsageError(f"{path_of(type(task))} records no encoder, so it cannot be exported")
    return {
        CLASS_PATH: path_of(Predictor),
        "encoder": without_weights(given["encoder"]),
        # Where none was given, the task has built a default one, without arguments.
        "decoder": given.get("decoder") or describe(type(net.decoder)),
        "head": given.get("head") or describe(type(net.head)),
    }


def predictor_state(task: ColorizationTask) -> dict[str, Tensor]:
    """Return the weights of a `Predictor` that predicts what a task in evaluation mode does."""
    if isinstance(task, Predictor):
        return task.state_dict()
    state = {f"net.{name}": value for name, value in task.inference_net.state_dict().items()}
    scaling = {f"scaling.{name}": value for name, value in task.scaling.state_dict().items()}
    return state | scaling
