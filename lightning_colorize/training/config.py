"""The configuration of a run: its files, and values that follow from others."""

import os
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import Namespace, get_loader

from lightning_colorize.common.bundled import bundled, with_bundled
from lightning_colorize.data.augmentation import nest_augmentation
from lightning_colorize.models.checkpoint import STARTS
from lightning_colorize.runs.artifacts import is_artifact
from lightning_colorize.runs.folder import read_config

# Missing if the class takes no arguments.
_ENCODER_ARGUMENTS = "model.init_args.encoder.init_args"


def config_paths(words: list[str]) -> list[Path]:
    """Return the configuration files on a command line; the first is the experiment."""
    paths = [
        word.partition("=")[2] or following
        for word, following in zip(words, [*words, ""][1:], strict=True)
        if word in ("--config", "-c") or word.startswith("--config=")
    ]
    return [Path(path).expanduser() for path in paths]


def base_config(words: list[str]) -> Path:
    """Return the file of defaults: `base.yaml` next to the experiment, else the bundled one."""
    for experiment in config_paths(words)[:1]:
        if (base := experiment.with_name("base.yaml")).is_file():
            return base
    return bundled("experiments") / "base.yaml"


def load_setting(text: str) -> Any:
    """Return a setting or a configuration from YAML, with the word None as null.

    W&B passes a sweep's null as this word; so does jsonargparse 4.53 to its inner parser, for a
    class within a class, as in `--model.encoder.weights null`.
    """
    value = get_loader("yaml")(text)
    return None if value == "None" else nest_augmentation(value)


def complete(config: Namespace, folder: Path) -> None:
    """Fill in values that follow from others, from the machine, or from the run in the folder."""
    _complete_paths(config)
    trainer = config.trainer
    if trainer.precision is None and config.run.auto_resume:
        # Not this machine's default: the run may have started on other GPUs.
        trainer.precision = read_config(folder).get("trainer", {}).get("precision")
    trainer.precision = trainer.precision or default_precision(trainer.accelerator)
    # Only some encoders depend on the image size.
    encoder = config.get(_ENCODER_ARGUMENTS, {})
    if "size" in encoder:
        encoder.size = config.data.size


def _complete_paths(config: Namespace) -> None:
    """Make paths that are not URLs absolute, as a run can be resumed from any folder."""
    model = config.model.get("init_args", {})
    paths = [(config.data, "root"), (config.run, "predict_dir")]
    starts = [key for key in STARTS if model.get(key)]
    # Bundled models have no path: a run can be resumed on any machine.
    paths += [(model, k) for k in starts if with_bundled(Path(model[k])) == Path(model[k])]
    paths += [(config.get(_ENCODER_ARGUMENTS, {}), "weights")]
    if config.data.source is not None:
        source = config.data.source.get("init_args", {})
        paths += [(source, "exclude_list"), (source, "cache_dir")]
        if "folders" in source:  # a mixture's folders are relative to it
            config.data.root = config.data.root or "."
            listed = source.folders if isinstance(source.folders, list) else []
            paths += [(folder, "exclude_list") for folder in listed]
    for part, key in paths:
        path = part.get(key)
        if path is not None and "://" not in str(path) and not is_artifact(Path(path)):
            part[key] = os.path.abspath(os.path.expanduser(path))


def default_precision(accelerator: str) -> Literal["bf16-mixed", "32-true"]:
    """Return bf16-mixed on GPUs that support it natively, where it is twice as fast."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    return "32-true"


def starts_from_checkpoint(config: Namespace) -> bool:
    """Return whether the network starts from another run."""
    model = config.model.get("init_args", {})
    return any(model.get(key) for key in STARTS)
