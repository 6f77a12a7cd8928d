"""How a denoiser is trained, and how its steps lead from noise to a sample."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import signature
from typing import Literal

import torch
from torch import Tensor

from lightning_colorize.networks.base import Recorded

LARGEST = 4.0
"""Samples are within ± this: rare errors of a certain network would dominate the loss."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""The denoiser for a batch of images: x, (N, 2, h, w), and their time, (1,), to a prediction."""


class Objective(Recorded, ABC):
    """Noise that is added in training, and the steps that remove it."""

    @abstractmethod
    def times(self, count: int) -> Tensor:
        """Draw training times from torch's CPU generator: (N,) in [0, 1]."""

    @abstractmethod
    def noised(self, x: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return noised samples and the prediction that the denoiser should make.

        Samples and standard normal noise are (N, 2, h, w), their times (N,) in [0, 1].
        """

    @abstractmethod
    def sample(self, predict: Predict, noise: Tensor, steps: int) -> Tensor:
        """Return a sample for each noise, (N, 2, h, w), in a number of steps."""


class FlowMatching(Objective):
    """Flow matching on straight lines from noise at time 0 to a sample at 1 (Lipman et al. 2023).

    The denoiser predicts the velocity `x - noise`; Euler steps integrate it. Training times are
    logit-normal (Esser et al. 2024).
    """

    def times(self, count: int) -> Tensor:
        """Draw training times from torch's CPU generator: (N,) in [0, 1]."""
        return torch.randn(count).sigmoid()

    def noised(self, x: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return points on the lines, and their velocity."""
        return torch.lerp(noise, x, time.view(-1, 1, 1, 1)), x - noise

    def sample(self, predict: Predict, noise: Tensor, steps: int) -> Tensor:
        """Return the ends of the flow, by Euler steps of equal size."""
        x = noise
        for step in range(steps):
            x = x + predict(x, x.new_full((1,), step / steps)) / steps
        return x


class Diffusion(Objective):
    """Denoising diffusion (Ho et al. 2020); diffusers' schedulers give noise and steps.

    Args:
        prediction: What the denoiser predicts: the noise (`epsilon`), or the velocity of Salimans
            and Ho 2022 (`v_prediction`).
        scheduler: Class of `diffusers` that samples, without noise between the steps. The first
            step multiplies the errors of `epsilon` by 20,000, so this needs a scheduler that clips,
            such as DDIMScheduler.

    Raises:
        ValueError: If diffusers is not installed, has no such scheduler, or it does not clip.
    """

    def __init__(
        self,
        prediction: Literal["epsilon", "v_prediction"] = "v_prediction",
        scheduler: str = "DDIMScheduler",
    ) -> None:
        try:
            import diffusers
        except ImportError:
            raise ValueError("Diffusion needs diffusers: uv run --extra diffusion ...") from None
        if not hasattr(getattr(diffusers, scheduler, None), "add_noise"):
            raise ValueError(f"diffusers has no scheduler {scheduler}; such as DDIMScheduler")
        clips = "clip_sample" in signature(getattr(diffusers, scheduler)).parameters
        if prediction == "epsilon" and not clips:
            raise ValueError(
                f"{scheduler} does not clip, which epsilon needs: give prediction v_prediction, or "
                "scheduler DDIMScheduler"
            )
        self.prediction = prediction
        self.scheduler = getattr(diffusers, scheduler)
        # Cosine: a small map needs less noise than the default for large images adds.
        self.training = diffusers.DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type=prediction,
            clip_sample=True,
            clip_sample_range=LARGEST,
        )

    def _steps(self, time: Tensor) -> Tensor:
        last: int = self.training.config.num_train_timesteps - 1
        return ((1 - time) * last).round().long()

    def times(self, count: int) -> Tensor:
        """Draw training times from torch's CPU generator: (N,) in [0, 1]; 1 is without noise."""
        return torch.rand(count)

    def noised(self, x: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples with the noise of their times, and what the denoiser predicts."""
        steps = self._steps(time)
        noisy = self.training.add_noise(x, noise, steps)
        if self.prediction == "epsilon":
            return noisy, noise
        return noisy, self.training.get_velocity(x, noise, steps)

    def sample(self, predict: Predict, noise: Tensor, steps: int) -> Tensor:
        """Return the samples of the scheduler."""
        # Trailing: the first step starts from pure noise (Lin et al. 2024).
        scheduler = self.scheduler.from_config(self.training.config, timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        last = self.training.config.num_train_timesteps - 1
        x: Tensor = noise * scheduler.init_noise_sigma
        for step in scheduler.timesteps:
            time = x.new_full((1,), 1 - float(step) / last)
            predicted = predict(scheduler.scale_model_input(x, step), time)
            x = scheduler.step(predicted, step, x, return_dict=False)[0]
        return x
