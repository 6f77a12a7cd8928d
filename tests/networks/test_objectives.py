"""Objectives by hand, the denoiser, and samples of a known distribution."""

import pytest
import torch
from torch.nn import functional as F

from lightning_colorize.networks import Denoiser, Diffusion, FlowMatching

OBJECTIVES = {
    "flow": FlowMatching,
    "epsilon": lambda: Diffusion("epsilon"),
    "velocity": lambda: Diffusion("v_prediction"),
    "dpm": lambda: Diffusion("v_prediction", "DPMSolverMultistepScheduler"),
}


def test_flow_by_hand():
    x, noise = torch.full((2, 2, 1, 1), 3.0), torch.full((2, 2, 1, 1), -1.0)
    noised, velocity = FlowMatching().noised(x, noise, torch.tensor([0.25, 1.0]))
    assert noised.flatten(1).tolist() == [[0.0, 0.0], [3.0, 3.0]]
    assert velocity.unique().tolist() == [4.0]
    asked = []

    def predict(x, time):
        asked.append(time.tolist())
        return 2 * x

    # Two Euler steps of dx/dt = 2x: 1, 2, 4.
    assert FlowMatching().sample(predict, torch.ones(1, 2, 1, 1), 2).flatten().tolist() == [4, 4]
    assert asked == [[0.0], [0.5]]


def test_diffusion_by_hand():
    objective = Diffusion("v_prediction")
    x, noise = torch.full((3, 2, 1, 1), 3.0), torch.full((3, 2, 1, 1), -1.0)
    times = torch.tensor([1.0, 0.5, 0.0])
    noised, velocity = objective.noised(x, noise, times)
    alpha = objective.training.alphas_cumprod[[0, 500, 999]].view(-1, 1, 1, 1)
    torch.testing.assert_close(noised, alpha.sqrt() * x + (1 - alpha).sqrt() * noise)
    torch.testing.assert_close(velocity, alpha.sqrt() * noise - (1 - alpha).sqrt() * x)
    assert Diffusion("epsilon").noised(x, noise, times)[1] is noise


@pytest.mark.parametrize("error", [1.0, 0.997])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_samples_a_known_distribution(name, error):
    """With the best prediction for N(2, 0.5), or nearly, the samples have this distribution."""
    objective, mean, variance = OBJECTIVES[name](), 2.0, 0.25

    def predict(x, time):
        one, zero = torch.ones_like(x[:1]), torch.zeros_like(x[:1])
        # The line through these points gives the factors of sample and noise at this time.
        keep, _ = objective.noised(one, zero, time[:1])
        add, _ = objective.noised(zero, one, time[:1])
        _, of_sample = objective.noised(one, zero, time[:1])
        _, of_noise = objective.noised(zero, one, time[:1])
        centered = (x - keep * mean) / (keep**2 * variance + add**2)
        best = of_sample * (mean + keep * variance * centered) + of_noise * add * centered
        return best * error

    torch.manual_seed(0)
    samples = objective.sample(predict, torch.randn(4000, 2, 1, 1), 50)
    assert samples.mean().item() == pytest.approx(mean, abs=0.05)
    assert samples.std().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("scheduler", "match"),
    [
        ("Fast", "no scheduler Fast"),
        ("DPMSolverMultistepScheduler", "give prediction v_prediction"),
    ],
)
def test_scheduler_that_does_not_fit(scheduler, match):
    with pytest.raises(ValueError, match=match):
        Diffusion("epsilon", scheduler)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1)])
def test_denoiser_has_any_size_and_sees_image_and_time(size):
    torch.manual_seed(0)
    denoiser = Denoiser(6, width=8, blocks=(1, 1, 1)).eval()
    features, mean = torch.randn(3, 6, *size), torch.rand(3, 2, *size)
    context = denoiser.context(features, mean, torch.ones_like(mean))
    x, time = torch.randn(3, 2, *size), torch.tensor([0.1, 0.1, 0.9])
    assert not denoiser(x, time, context).any()  # before training
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        context = denoiser.context(features, mean, torch.ones_like(mean))
        out = denoiser(x, time, context)
        assert out.shape == x.shape
        torch.testing.assert_close(out[1:2], denoiser(x[1:2], time[1:2], context[1:2]))
        for changed in (denoiser(x, 1 - time, context), denoiser(x, time, context.roll(1, 0))):
            assert F.l1_loss(changed, out) > 1e-3
