import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms.functional import normalize

from lightning_colorize.color import AB_SCALE, ColorBatch, to_rgb
from lightning_colorize.common.class_paths import Trust, build, describe
from lightning_colorize.losses import L1, Loss, Perceptual, WeightedSum
from lightning_colorize.networks import (
    ConvEncoder,
    MobileNetV2Encoder,
    RegNetEncoder,
    ResNetEncoder,
    TimmEncoder,
    VGG16Encoder,
    WeightsError,
    skip_weights,
)
from tests.losses.conftest import smooth_images


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
    return Perceptual(lambda: ResNetEncoder(18, levels=2, weights=resnet[1]), [0.5, 2.0])


@pytest.fixture
def batch():
    L, ab = smooth_images(seed=2)
    return ColorBatch(L, ab, ["a", "b"], ab / AB_SCALE, lambda x: x.float() * AB_SCALE)


def by_hand(network, batch, ab):
    """torchvision's own features of ImageNet's normalization of both RGB images."""
    levels = []
    for color in (ab, batch.ab):
        rgb = to_rgb(batch.L, color, clip=False)
        x = normalize(rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        first = network.relu(network.bn1(network.conv1(x)))
        levels.append((first, network.layer1(network.maxpool(first))))
    (p1, p2), (t1, t2) = levels
    return 0.5 * (p1 - t1).abs().mean() + 2.0 * (p2 - t2).abs().mean()


def test_equals_torchvisions_features(resnet, loss, batch):
    ab = batch.ab * 0.3 + 5
    with torch.no_grad():
        expected = by_hand(resnet[0], batch, ab)
        torch.testing.assert_close(loss(ab / AB_SCALE, batch), expected, rtol=1e-4, atol=1e-5)


def test_sees_colors_and_not_only_lightness(loss, batch):
    assert loss(batch.ab.flip(1) / AB_SCALE, batch) > 0.01


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
    spec = {
        "class_path": "lightning_colorize.losses.WeightedSum",
        "init_args": {
            "losses": {
                "perceptual": {
                    "class_path": "lightning_colorize.losses.Perceptual",
                    "init_args": {
                        "backbone": {
                            "class_path": "lightning_colorize.networks.ResNetEncoder",
                            "init_args": {"levels": 2, "weights": str(resnet[1])},
                        },
                        "weights": [0.5, 2.0],
                    },
                }
            }
        },
    }
    made = build(spec, Loss, Trust())
    described = describe(made)
    moved = resnet[1].rename(resnet[1].with_suffix(".moved"))
    with skip_weights():
        again = build(described, Loss, Trust())
    prediction = batch.ab * 0.5 / AB_SCALE
    with pytest.raises(WeightsError, match="no file"):
        again(prediction, batch)
    moved.rename(resnet[1])
    assert again(prediction, batch) == made(prediction, batch) > 0


def test_training_follows_a_first_validation(resnet, batch):
    """Weights that are loaded or moved in inference mode cannot be used in a backward pass."""
    with skip_weights():
        loss = Perceptual(lambda: ResNetEncoder(18, levels=1, weights=resnet[1]))
    prediction = (batch.ab * 0.5 / AB_SCALE).requires_grad_()
    with torch.inference_mode():
        loss(prediction.detach(), batch)
    loss(prediction, batch).backward()
    assert prediction.grad.isfinite().all()


def test_random_weights_and_wrong_numbers_are_refused(resnet):
    for backbone in (ResNetEncoder, ConvEncoder):
        with pytest.raises(WeightsError, match=r"needs pretrained weights; set .* weights: PATH"):
            Perceptual(backbone)
    with pytest.raises(ValueError, match="weights has 1 numbers for 2 levels"):
        Perceptual(lambda: ResNetEncoder(18, levels=2, weights=resnet[1]), [1.0])


def mobilenet_levels(network, x):
    ends = (1, 3, 6, 13, 17)
    levels = []
    for i, block in enumerate(network.features[:18]):
        x = block(x)
        levels += [x] if i in ends else []
    return levels


def vgg_levels(network, x):
    levels = []
    for layer in network.features:
        x = layer(x)
        levels += [x] if isinstance(layer, nn.MaxPool2d) else []
    return levels


def regnet_levels(network, x):
    levels = [network.stem(x)]
    for block in network.trunk_output:
        levels.append(block(levels[-1]))
    return levels


@pytest.mark.parametrize(
    ("encoder", "build", "levels"),
    [
        (MobileNetV2Encoder, torchvision.models.mobilenet_v2, mobilenet_levels),
        (RegNetEncoder, torchvision.models.regnet_x_400mf, regnet_levels),
        (VGG16Encoder, torchvision.models.vgg16_bn, None),
        (VGG16Encoder, torchvision.models.vgg16, vgg_levels),
    ],
    ids=["mobilenet", "regnet", "vgg_of_other_form", "vgg"],
)
def test_any_encoder_is_built_for_rgb(encoder, build, levels, tmp_path):
    torch.manual_seed(0)
    with torch.device("cpu" if encoder is RegNetEncoder else "meta"):
        network = build(weights=None)
    for part in ("classifier", "fc"):
        if hasattr(network, part):
            setattr(network, part, nn.Identity())
    network = network.to_empty(device="cpu").eval()
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            fan = value[0].numel() if value.dim() > 1 else 4
            value.uniform_(0.5, 1.5) if "var" in name else value.normal_(std=fan**-0.5)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    if levels is None:
        with pytest.raises(WeightsError, match="do not fit"):
            Perceptual(lambda: encoder(weights=tmp_path / "w.pth"))
        return
    backbone = Perceptual(lambda: encoder(weights=tmp_path / "w.pth")).backbone
    rgb = torch.rand(1, 3, 64, 64)
    x = normalize(rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        for ours, theirs in zip(backbone(rgb * 2 - 1), levels(network, x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_timm_backbones_see_rgb(tmp_path):
    import timm

    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "w.pth")
    file = tmp_path / "w.pth"
    backbone = Perceptual(lambda: TimmEncoder("resnet10t", levels=[0], weights=file)).backbone
    reference = timm.create_model("resnet10t", features_only=True, out_indices=(0,)).eval()
    reference.load_state_dict(torch.load(file), strict=False)
    rgb = torch.rand(1, 3, 32, 32)
    config = reference.pretrained_cfg
    with torch.no_grad():
        expected = reference(normalize(rgb, config["mean"], config["std"]))[0]
        torch.testing.assert_close(backbone(rgb * 2 - 1)[0], expected, rtol=1e-4, atol=1e-5)


def test_colorizers_see_lightness_after_a_perceptual_loss_was_built(loss):
    assert ResNetEncoder(18, levels=1)(torch.zeros(1, 1, 32, 32))[0].shape == (1, 64, 16, 16)
