"""Text encoders of transformers, for prompts."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from lightning_colorize.networks.base import TextEncoder

_CACHED = 100_000  # texts
_SAFE = {"trust_remote_code": False}  # by default, transformers asks whether to run their code


class TransformersText(TextEncoder):
    """A frozen text encoder: one vector per text, computed once for each text.

    Args:
        name: Name on the Hugging Face Hub or a folder, such as `openai/clip-vit-base-patch32`.

    Raises:
        ValueError: If transformers is not installed, or has no such text encoder.
    """

    def __init__(self, name: str) -> None:
        try:
            import transformers
        except ImportError:
            raise ValueError("prompts need transformers: uv run --extra diffusion ...") from None
        try:
            config = transformers.AutoConfig.from_pretrained(name, **_SAFE)
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name, **_SAFE)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"text encoder {name}: {reason}") from None
        self.name = name
        is_clip = config.model_type in ("clip", "clip_text_model")
        self._class: Any = transformers.CLIPTextModel if is_clip else transformers.AutoModel
        config = getattr(config, "text_config", config)
        self.width = int(config.hidden_size)
        longest = getattr(config, "max_position_embeddings", self.tokenizer.model_max_length)
        self.longest = min(longest, self.tokenizer.model_max_length)
        self._encode = lru_cache(_CACHED)(self._encoded)

    @cached_property
    def model(self) -> Any:
        """The text encoder; loaded for the first text, not while a checkpoint is only checked."""
        loaded = self._class.from_pretrained(self.name, use_safetensors=True, **_SAFE)
        return loaded.eval().requires_grad_(False)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (B, width), fp32, on the CPU."""
        return torch.stack([self._encode(text) for text in texts])

    @torch.no_grad()
    def _encoded(self, text: str) -> Tensor:
        tokens = self.tokenizer(text, truncation=True, max_length=self.longest, return_tensors="pt")
        output = self.model(**tokens)
        if getattr(output, "pooler_output", None) is not None:
            pooled: Tensor = output.pooler_output[0]
        else:
            pooled = output.last_hidden_state[0].mean(0)
        return pooled.float()
