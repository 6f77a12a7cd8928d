from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import normalize

from lightning_colorize.color import AB_SCALE, to_rgb
from lightning_colorize.common.class_paths import Trust, build, describe
from lightning_colorize.losses import L1, Loss, Perceptual, WeightedSum
from lightning_colorize.networks import ResNetEncoder, WeightsError
from tests.losses.conftest import batch_of, smooth_images

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """torchvision's ResNet-18 with random weights, and a factory of the backbone from its file."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), file)
    return network, file


@pytest.fixture
def loss(resnet):
    return Perceptual(partial(ResNetEncoder, levels=2, weights=resnet[1]), [0.5, 2.0])


@pytest.fixture
def batch():
    return batch_of(*smooth_images(seed=2))


def test_equals_torchvisions_features(resnet, loss, batch):
    ab = batch.ab * 0.3 + 5
    network = create_feature_extractor(resnet[0], ["relu", "layer1"])
    with torch.no_grad():
        predicted, true = (
            network(normalize(to_rgb(batch.L, x, clip=False), IMAGENET_MEAN, IMAGENET_STD)).values()
            for x in (ab, batch.ab)
        )
        first, second = ((p - t).abs().mean() for p, t in zip(predicted, true, strict=True))
        expected = 0.5 * first + 2.0 * second
        torch.testing.assert_close(loss(ab / AB_SCALE, batch), expected, rtol=1e-4, atol=1e-5)


def test_the_backbone_is_frozen_and_no_part_of_the_model(loss, batch):
    model = nn.ModuleDict({"loss": WeightedSum({"l1": L1(), "perceptual": loss})})
    prediction = (batch.ab * 0.5 / AB_SCALE).requires_grad_()
    before = {k: v.clone() for k, v in loss.backbone.state_dict().items()}
    model.train()
    model["loss"](prediction, batch).backward()
    assert prediction.grad.abs().sum() > 0
    assert not list(model.parameters())
    assert not list(model.buffers())
    assert not model.state_dict()
    assert not any(module.training for module in loss.backbone.modules())
    assert not any(p.requires_grad or p.grad is not None for p in loss.backbone.parameters())
    after = loss.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_checkpoint_is_rebuilt_without_the_weights_until_the_loss_is_used(resnet, batch):
    encoder = {
        "class_path": "lightning_colorize.networks.ResNetEncoder",
        "init_args": {"levels": 2, "weights": str(resnet[1])},
    }
    arguments = {"backbone": encoder, "weights": [0.5, 2.0]}
    spec = {"class_path": "lightning_colorize.losses.Perceptual", "init_args": arguments}
    made = build(spec, Loss, Trust())
    described = describe(made)
    moved = resnet[1].rename(resnet[1].with_suffix(".moved"))
    again = build(described, Loss, Trust())
    prediction = batch.ab * 0.5 / AB_SCALE
    with pytest.raises(WeightsError, match="does not exist"):
        again(prediction, batch)
    moved.rename(resnet[1])
    assert again(prediction, batch) == made(prediction, batch) > 0


def test_training_follows_a_first_validation(resnet, batch):
    """Weights that are loaded or moved in inference mode cannot be used in a backward pass."""
    loss = Perceptual(partial(ResNetEncoder, levels=1, weights=resnet[1]))
    prediction = (batch.ab * 0.5 / AB_SCALE).requires_grad_()
    with torch.inference_mode():
        loss(prediction.detach(), batch)
    loss(prediction, batch).backward()
    assert prediction.grad.isfinite().all()


def test_random_weights_and_wrong_numbers_are_refused(resnet):
    with pytest.raises(WeightsError, match=r"needs pretrained weights; set .* weights: PATH"):
        Perceptual(ResNetEncoder).require_weights()
    with pytest.raises(ValueError, match="weights has 1 numbers for 2 levels"):
        Perceptual(partial(ResNetEncoder, levels=2, weights=resnet[1]), [1.0]).require_weights()
