"""Loading of a task or its network from a checkpoint, without executing code."""

import sys
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from lightning_colorize.common.class_paths import Trust, build, describe
from lightning_colorize.common.digest import is_damaged
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.models.exported import CLASS_PATH, SUFFIX, read_exported
from lightning_colorize.networks import ColorizationNetwork, GenerativeNetwork
from lightning_colorize.runs.folder import checkpoint_of

UNRECORDED = "_unrecorded"
"""Key of the hyperparameters for arguments that cannot be described as plain data."""
DECODING = "decoding"
"""Key of a checkpoint for the model's settings and size."""
STARTS = ("checkpoint", "generator_checkpoint")
"""Arguments of tasks: the run that the network starts from."""

_OURS = "a checkpoint of lightning-colorize"
# A GAN's moving average takes precedence over the generator.
_NETWORKS = ("averaged.module.", "net.")
_WRAPPED = "encoder.encoder."  # of an encoder with conditions
_DECODED = ("head.vividness", "head.temperature")
_INITIAL = ("pretrained", "weights", "frozen", "norm_eval")
_NO_ARGUMENTS = (CLASS_PATH, UNRECORDED, "_instantiator")


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return the content of a task's checkpoint, on the CPU, without executing code.

    Weights that are not finite are refused.
    """
    try:
        if file.suffix == SUFFIX:
            checkpoint: dict[str, Any] = read_exported(file)
        elif is_damaged(file):
            raise UsageError(f"{file} is damaged: it has changed since it was written")
        else:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"{file} does not exist") from None
    except PermissionError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnpicklingError:
        raise UsageError(
            f"{file} is not {_OURS}: it holds Python objects, which are not loaded for safety"
        ) from None
    except Exception as error:  # a damaged file makes torch raise nearly any class
        raise UsageError(f"{file} is damaged, or not {_OURS}") from error
    try:
        hyperparameters: Any = checkpoint.get("hyper_parameters")
        state: Any = checkpoint.get("state_dict")
        is_ours = isinstance(hyperparameters[CLASS_PATH], str)
        broken = first_not_finite(state)
    except (AttributeError, KeyError, TypeError):
        is_ours, broken = False, None
    if not is_ours:
        raise UsageError(f"{file} is not {_OURS}")
    if broken is not None:
        raise UsageError(
            f"{file} has weights that are not finite ({broken}); training probably diverged"
        )
    return checkpoint


def read_intact(folder: Path, *names: str) -> tuple[Path, dict[str, Any]]:
    """Return the first intact checkpoint of a run and its content; warn about damaged ones."""
    faults: list[str] = []
    for file in (folder / name for name in names if (folder / name).is_file()):
        try:
            checkpoint = read_checkpoint(file)
            _require_training(file, checkpoint)
        except UsageError as error:
            faults.append(str(error))
            continue
        if faults and is_first_process():
            instead = f"{file} of step {checkpoint['global_step']} is used instead"
            print(f"{'; '.join(faults)}; {instead}", file=sys.stderr)
        return file, checkpoint
    raise UsageError(
        f"no checkpoint of the run is intact: {'; '.join(faults)}; start over with fit"
    )


def first_not_finite(state: Mapping[str, Any]) -> str | None:
    """Return the name of the first tensor with nan or infinity; None if there is none."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        # Summing is 50 times faster, but may overflow.
        if not value.sum().isfinite() and not value.isfinite().all():
            return name
    return None


def optimizer_states(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of a checkpoint's optimizers by name, such as Adam's moments."""
    return {
        f"optimizer {number}, parameter {parameter}, {name}": value
        for number, optimizer in enumerate(checkpoint.get("optimizer_states", []))
        for parameter, state in optimizer["state"].items()
        for name, value in state.items()
    }


def rebuild_task(
    file: Path,
    checkpoint: Mapping[str, Any],
    base: type,
    trust: Trust,
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """Return the task of a checkpoint, a subclass of `base`, with its weights."""
    hyperparameters, overrides = checkpoint["hyper_parameters"], overrides or {}
    if missing := [n for n in hyperparameters.get(UNRECORDED, []) if n not in overrides]:
        raise UsageError(
            f"{file} does not record {', '.join(missing)}: pass it to load_from_checkpoint"
        )
    dropped = {*_NO_ARGUMENTS, *overrides}
    arguments = {n: deepcopy(v) for n, v in hyperparameters.items() if n not in dropped}
    spec = {"class_path": hyperparameters[CLASS_PATH], "init_args": arguments}

    try:
        prepare_for_state(arguments)
        task = build(spec, base, trust, overrides)
        if hasattr(task, "on_load_checkpoint"):  # Lightning's; an exported file has none
            task.on_load_checkpoint(dict(checkpoint))
        task.load_state_dict(checkpoint["state_dict"], strict=True)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    except Exception as error:  # classes raise nearly any exception for wrong arguments
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{file} does not fit this version of lightning-colorize: {reason}"
        ) from error
    return task


def prepare_for_state(arguments: Any, keep_start: bool = False) -> None:
    """Change a task's arguments so that it is built without reading or downloading weights.

    A state dict follows; the files of the initial weights may no longer exist.

    Args:
        arguments: A dictionary or namespace, which is changed.
        keep_start: Keep the checkpoint that the network starts from.
    """
    for name in () if keep_start else STARTS:
        if arguments.get(name) is not None:
            arguments[name] = None
    encoder = arguments.get("encoder")
    while encoder and not isinstance(encoder, str) and (own := encoder.get("init_args")):
        if own.get("pretrained") or own.get("weights") is not None:
            if own.get("norm_eval") is None:
                own["norm_eval"] = True  # as with weights
            own["pretrained"], own["weights"] = False, None
        encoder = own.get("encoder")


def load_network(network: ColorizationNetwork, path: Path, keep_decoding: bool) -> None:
    """Load the weights of a run's network.

    With `keep_decoding`, a ClassificationHead keeps its vividness and temperature.
    """
    file = checkpoint_of(path.expanduser())
    checkpoint = read_checkpoint(file)
    state, given = checkpoint["state_dict"], checkpoint["hyper_parameters"].get("encoder")
    prefix = next((p for p in _NETWORKS if any(name.startswith(p) for name in state)), "")
    weights = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    own = network.state_dict()
    if keep_decoding:
        weights |= {name: own[name].clone() for name in own if name in _DECODED}
    if weights.keys() != own.keys():
        weights = _without_conditions(weights)
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise UsageError(
            f"{file} contains a different network: encoder, decoder and head must be the same"
        ) from None
    except ValueError as error:  # class names
        raise UsageError(f"{file}: {error}") from None
    # Some arguments, such as the input range, do not affect the weights. Those of conditions do.
    try:
        ours, depth = _innermost(describe(network.encoder))
    except TypeError:  # an argument that cannot be described
        return
    theirs, _ = _innermost(given) if isinstance(given, dict) else ({}, 0)
    option = "--model.encoder" + ".encoder" * depth
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name]:
            raise UsageError(
                f"{file} has an encoder with {name} {theirs[name]}, here it is {ours[name]}: give "
                f"{option}.{name} {theirs[name]}"
            )


def _innermost(encoder: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return the arguments of the innermost of nested encoders, and how deep it is."""
    arguments, depth = without_weights(encoder)["init_args"], 0
    while isinstance(arguments.get("encoder"), dict):
        arguments, depth = arguments["encoder"]["init_args"], depth + 1
    return arguments, depth


def _without_conditions(weights: dict[str, Any]) -> dict[str, Any]:
    """Return the weights of a network that computes the same from L, and takes no conditions."""
    if not any(name.startswith(_WRAPPED) for name in weights):
        return weights
    return {
        name.replace(_WRAPPED, "encoder.", 1): value
        for name, value in weights.items()
        if name.startswith(_WRAPPED) or not name.startswith(("encoder.", "gate."))
    }


def describe_parts(
    hyperparameters: Mapping[str, Any], net: ColorizationNetwork
) -> dict[str, Any] | None:
    """Return encoder, decoder and head of a task as plain data; None without a recorded encoder."""
    if not isinstance(hyperparameters.get("encoder"), dict):
        return None
    described = {
        "encoder": without_weights(hyperparameters["encoder"]),
        # If none was given, the task built a default one, without arguments.
        "decoder": hyperparameters.get("decoder") or describe(type(net.decoder)),
        "head": hyperparameters.get("head") or describe(type(net.head)),
    }
    if isinstance(net, GenerativeNetwork):
        described["denoiser"] = hyperparameters.get("denoiser") or describe(type(net.denoiser))
        described |= {"objective": describe(net.objective), "residual": net.residual}
    return described


def without_weights(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an encoder without the origin of its initial weights.

    A path on this machine must not leak.
    """
    arguments = encoder.get("init_args") or {}
    kept = {name: value for name, value in arguments.items() if name not in _INITIAL}
    if isinstance(inner := kept.get("encoder"), dict):
        kept["encoder"] = without_weights(inner)
    return {**encoder, "init_args": kept}


def _require_training(file: Path, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint without the state of training, or with values that are not finite."""
    if not {"global_step", "loops", "callbacks"} <= checkpoint.keys():
        raise UsageError(f"{file} is not {_OURS}: its training state is missing")
    if (broken := first_not_finite(optimizer_states(checkpoint))) is not None:
        raise UsageError(f"{file} has an optimizer state that is not finite ({broken})")
