"""Initial weights of encoders: from a file, a download, or random."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import Tensor, nn

_SKIPPED: ContextVar[str] = ContextVar("skip_weights", default="")

State = dict[str, Tensor]


class WeightsError(ValueError):
    """Weights are unavailable or do not fit; the message is one line and says what to do."""


@contextmanager
def skip_weights(initial: bool = False) -> Iterator[None]:
    """Build encoders without downloading or reading weights.

    For loading a checkpoint, whose state dict follows; the file that training started from may be
    gone.

    Args:
        initial: The task itself loads a checkpoint to start from (`--model.checkpoint`).
    """
    token = _SKIPPED.set("initial" if initial else "all")
    try:
        yield
    finally:
        _SKIPPED.reset(token)


def weights_skipped() -> bool:
    """Return whether `skip_weights` is active."""
    return bool(_SKIPPED.get())


def checkpoint_skipped() -> bool:
    """Return whether a task is built without the checkpoint that it started from."""
    return _SKIPPED.get() == "all"


def obtain_weights(
    pretrained: bool, weights: Path | None, fetch: Callable[[], Any], published: str
) -> tuple[Any, str]:
    """Return the initial weights and their origin; a file takes precedence over a download.

    Returns:
        The file's state dict, what `fetch` returned, or None for random weights and under
        `skip_weights`; and the origin in words.

    Raises:
        WeightsError: If the file cannot be read or the download fails.
    """
    if weights_skipped():
        return None, "checkpoint"
    if weights is not None:
        return read_weights(weights), f"file {weights}"
    if not pretrained:
        return None, "random"
    try:
        return fetch(), published
    except Exception as error:  # each library has errors of its own for a failed download
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(
            f"pretrained weights ({published}) could not be downloaded: {reason}; "
            "set weights: PATH to a downloaded file, or pretrained: false (of the network's "
            "encoder: --model.encoder.weights PATH)"
        ) from error


def read_weights(path: Path) -> State:
    """Return a file's state dict (or that under `state_dict`), on the CPU, without executing code.

    Raises:
        WeightsError: If it is missing or contains no state dict.
    """
    # timm takes nearly two seconds to import.
    from timm.models import load_state_dict

    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"weights: no file {path}; give an existing one, or pretrained: false")
    try:
        state = load_state_dict(str(path), use_ema=False, weights_only=True)
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("it contains more than tensors")
    except Exception as error:  # torch.load raises many classes for invalid files
        raise WeightsError(
            f"weights: {path} is not a state dict written by torch.save or safetensors"
        ) from error
    return dict(state)


def load_weights(network: nn.Module, state: State, classifier: str | tuple[str, ...]) -> None:
    """Load a state dict strictly, except for the classifier.

    Raises:
        WeightsError: If keys are missing, unknown or of another shape.
    """
    whole = {k: v for k, v in network.state_dict().items() if k.startswith(classifier)}
    whole |= {k: v for k, v in state.items() if not k.startswith(classifier)}
    try:
        network.load_state_dict(whole)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"weights do not fit this encoder: {reason}") from None


def has_folded_norms(network: nn.Module) -> bool:
    """Return whether all batch norms were folded into the convolutions.

    Folded batch norms have mean 0 and variance 1, as new ones do, but a nonzero shift.
    """
    norms = [m.state_dict() for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    return bool(norms) and all(
        bool((n["running_mean"] == 0).all() and (n["running_var"] == 1).all() and n["bias"].any())
        for n in norms
    )
