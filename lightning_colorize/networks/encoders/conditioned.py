"""An encoder whose features also depend on hints, a palette, a label or a text."""

import json
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.color import AB_SCALE, NO_CONDITION, ColorBatch, Condition
from lightning_colorize.color.hints import CHANNELS, simulated_hints, simulated_references
from lightning_colorize.color.palette import simulated_palettes
from lightning_colorize.networks.base import Encoder, TextEncoder

_REFERENCES = 0.5  # share of the hints that are references
_OFF = 0.5  # share of the training images without a condition, for each condition


class ConditionedEncoder(Encoder):
    """Adds conditions to another encoder, without changing what it computes before training.

    Hints, and their colors diffused over the image, are added to each level through two layers.
    Palette, label and text shift and scale the channels of each level (FiLM, Perez et al. 2018). In
    training, hints and palettes are simulated from the true colors, and each condition is dropped
    for half of the images: the network works with any of them or none. It can start from the
    checkpoint of the encoder alone.

    Args:
        encoder: The encoder, with one input channel.
        hints: Accept color hints.
        references: Also train with simulated references as hints, for half of the images with
            hints; otherwise references are followed without the network.
        palette: Accept palettes.
        labels: Largest number of class names; training takes the names from the data. 0 for none.
        text: Encodes prompts; null for none.
        width: Channels of the conditions before they act on each level.

    Raises:
        ValueError: If no condition is accepted, or references without hints.
    """

    def __init__(
        self,
        encoder: Encoder,
        hints: bool = True,
        palette: bool = True,
        labels: int = 0,
        text: TextEncoder | None = None,
        width: int = 128,
        references: bool = False,
    ) -> None:
        super().__init__()
        given = {"hints": hints, "palette": palette, "label": bool(labels), "prompt": bool(text)}
        given["reference"] = references
        if not any(given.values()):
            raise ValueError("give at least one of hints, palette, labels and text")
        if references and not hints:
            raise ValueError("references are hints: give hints, too")
        self.conditions = frozenset(name for name, accepted in given.items() if accepted)
        self.info = encoder.info
        self.label_names = []
        self.encoder = encoder
        # No layer that acts last has a bias: without conditions, the features are the encoder's.
        self.hint = nn.Conv2d(CHANNELS, width, 1, bias=False) if hints else None
        self.hints = nn.ModuleList()
        self.color: nn.Module | None = None
        self.label = nn.Embedding(labels, width) if labels else None
        self.text = None if text is None else nn.Linear(text.width, width)
        # A list hides it: checkpoints do not contain its frozen weights.
        self._texts = [text]
        if palette:
            self.color = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width))
        self.modulation = nn.ModuleList()
        for channels in self.info.channels:
            if hints:
                self.hints.append(nn.Conv2d(width, channels, 1, bias=False))
            if self.conditions - {"hints", "reference"}:
                self.modulation.append(nn.Linear(width, 2 * channels, bias=False))
        for parameter in (*self.hints.parameters(), *self.modulation.parameters()):
            nn.init.zeros_(parameter)
        self.register_load_state_dict_pre_hook(_from_encoder_alone)  # type: ignore[no-untyped-call]

    @property
    def weights_from(self) -> str:  # type: ignore[override]
        """Where the encoder's initial weights come from."""
        return self.encoder.weights_from

    @property
    def pretrained_part(self) -> Encoder:
        """The encoder without conditions."""
        return self.encoder.pretrained_part

    def forward(self, L: Tensor, condition: Condition = NO_CONDITION) -> list[Tensor]:
        """Return one map per level, finest first: (B, channels[i], ~H/r[i], ~W/r[i]).

        Args:
            L: (B, 1, H, W) in [-1, 1].
            condition: Hints as `hint_channels` returns, palettes, labels and texts. Labels are
                indices into `label_names`.
        """
        features: list[Tensor] = self.encoder(L)
        if self.hint is not None and condition.hints is not None:
            features = [
                feature + conv(F.relu(self.hint(F.avg_pool2d(condition.hints, reduction))))
                for feature, conv, reduction in zip(
                    features, self.hints, self.info.reductions, strict=True
                )
            ]
        others = (condition.palettes, condition.labels, condition.texts)
        if not self.modulation or all(value is None for value in others):
            return features
        vector = self._vector(condition, features[-1])
        modulated = []
        for feature, linear in zip(features, self.modulation, strict=True):
            scale, shift = linear(vector)[..., None, None].chunk(2, dim=1)
            modulated.append(feature * (1 + scale) + shift)
        return modulated

    def _vector(self, condition: Condition, like: Tensor) -> Tensor:
        """Return the sum of the vectors of palette, label and text: (B, width)."""
        linear = cast(nn.Linear, self.modulation[0])
        vector = like.new_zeros(like.shape[0], linear.in_features)
        if self.color is not None and condition.palettes is not None:
            shares = condition.palettes[..., 2:].to(like.dtype)
            colors = condition.palettes[..., :2].to(like.dtype) / AB_SCALE
            vector = vector + (self.color(torch.cat([colors, shares], -1)) * (shares > 0)).sum(1)
        if self.label is not None and condition.labels is not None:
            known = (condition.labels >= 0).to(like.dtype)[:, None]
            vector = vector + self.label(condition.labels.clamp(min=0)) * known
        if self.text is not None and condition.texts is not None:
            (encoder,) = self._texts
            encoded = cast(TextEncoder, encoder)(condition.texts).to(like)
            known = like.new_tensor([bool(text) for text in condition.texts])[:, None]
            vector = vector + self.text(encoded) * known
        return vector

    def set_label_names(self, names: Sequence[str]) -> None:
        """Add the class names of the training images to those that are known.

        Raises:
            ValueError: If there are more than the network has room for.
        """
        if self.label is None:
            return
        self.label_names = [*dict.fromkeys([*self.label_names, *names])]
        if len(self.label_names) > self.label.num_embeddings:
            raise ValueError(
                f"encoder.labels is {self.label.num_embeddings}; the data has "
                f"{len(self.label_names)} class names"
            )

    def get_extra_state(self) -> Tensor:
        """Return the class names, for the state dict: JSON in UTF-8, as uint8."""
        return torch.tensor(list(json.dumps(self.label_names).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Set the class names from a state dict, as `set_label_names` does."""
        self.label_names = []
        self.set_label_names(json.loads(bytes(state.tolist())))

    def simulate(self, batch: ColorBatch) -> Condition:
        """Return the condition of a training batch; each is dropped for half of the images.

        Random numbers are from torch's CPU generator.
        """
        count, given = len(batch), batch.condition
        drawn = torch.rand(4, count) >= _OFF
        kept = drawn.to(batch.ab.device).float()
        labels, texts, hints, palettes = given.labels, given.texts, None, None
        if labels is not None:
            labels = torch.where(kept[0] > 0, labels, -1)
        if texts is not None:
            texts = [text if keep else "" for text, keep in zip(texts, drawn[1], strict=True)]
        if "hints" in self.conditions:
            hints = simulated_hints(batch.ab)
            if "reference" in self.conditions:
                alike = (torch.rand(count, 1, 1, 1) < _REFERENCES).to(hints.device)
                hints = torch.where(alike, simulated_references(batch.ab), hints)
            hints = hints * kept[2].view(-1, 1, 1, 1)
        if "palette" in self.conditions:
            palettes = simulated_palettes(batch.ab) * kept[3].view(-1, 1, 1)
        return Condition(labels, texts, hints, palettes)


def _from_encoder_alone(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Convert the state dict of an encoder without conditions, before it is loaded."""
    own = {f"{prefix}{name}": value for name, value in module.state_dict().items()}
    given = {name: state[name] for name in state if name.startswith(prefix)}
    if any(name in given for name in own) or not given:
        return
    for name in given:
        del state[name]
    state |= own
    for name, value in given.items():
        state[f"{prefix}encoder.{name.removeprefix(prefix)}"] = value
