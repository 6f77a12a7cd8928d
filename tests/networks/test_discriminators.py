from functools import partial

import pytest
import torch
from torch import nn

from lightning_colorize.color import to_rgb
from lightning_colorize.networks import CriticDiscriminator, PatchDiscriminator, parameter_count

FIELDS = {1: 16, 2: 34, 3: 70, 4: 142, 5: 286}


def image(side, batch=1):
    return torch.rand(batch, 1, side, side) * 2 - 1, torch.rand(batch, 2, side, side) * 2 - 1


@pytest.mark.parametrize("layers", FIELDS)
def test_receptive_field_by_gradient(layers):
    """The extent of the pixels that the middle logit depends on."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(layers, width=2).eval().double()
    side = 2 * FIELDS[layers]
    L, ab = (map_.double().requires_grad_() for map_ in image(side))
    logits = discriminator(L, ab)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    for gradient in (L.grad, ab.grad):
        rows, columns = gradient.abs().sum(dim=(0, 1)).nonzero().unbind(1)
        assert rows.max() - rows.min() + 1 == FIELDS[layers]
        assert columns.max() - columns.min() + 1 == FIELDS[layers]


def convolutions(discriminator):
    return [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "spectral"])
@pytest.mark.parametrize("layers", FIELDS)
def test_the_smallest_image(layers, norm):
    discriminator = PatchDiscriminator(layers, width=2, norm=norm)
    smallest = discriminator.smallest
    assert discriminator(*image(smallest, batch=2)).shape == (2, 1, 1, 1)
    with pytest.raises((RuntimeError, ValueError)):
        discriminator(*image(smallest - 1, batch=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"layers": 0}, "1 to 5"), ({"layers": 6}, "1 to 5"), ({"width": 0}, "at least 1")],
)
def test_sizes_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        PatchDiscriminator(**arguments)


def test_spectral_norm_bounds_every_convolution():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(width=8, norm="spectral")
    convs = convolutions(discriminator)
    with torch.no_grad():
        for conv in convs:
            conv.parametrizations.weight.original.mul_(50)
        for _ in range(20):  # an iteration of the power method each
            discriminator(*image(24))
    for conv in convs:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, 0.05)
        assert conv.bias is not None


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (PatchDiscriminator, 2_765_633),
        (CriticDiscriminator, 5_919_617),  # DDColor's
        (partial(CriticDiscriminator, width=256), 94_555_649),  # DeOldify's
    ],
)
def test_parameter_count_of_the_published_networks(build, published):
    with torch.device("meta"):
        assert parameter_count(build()) == (published, 0)


def test_the_critic_sees_rgb_and_bounds_each_layer():
    torch.manual_seed(0)
    critic = CriticDiscriminator(layers=2, width=8)
    seen = []
    critic.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    L, ab = image(critic.smallest)
    ab.requires_grad_()
    logit = critic(L, ab)
    assert logit.shape == (1, 1, 1, 1)
    torch.testing.assert_close(seen[0], to_rgb((L + 1) * 50, ab * 110, clip=False))
    logit.sum().backward()
    assert ab.grad.isfinite().all()
    assert ab.grad.any()
    for _ in range(30):
        critic(L, ab)
    for module in convolutions(critic):
        assert torch.linalg.matrix_norm(module.weight.flatten(1), 2) < 1.05
    with pytest.raises(RuntimeError):
        critic(*image(critic.smallest - 1))
    with pytest.raises(ValueError, match="the least are 2 and 4"):
        CriticDiscriminator(layers=1)
