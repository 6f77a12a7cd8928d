"""Every encoder: its contract, published weights, freezing and batch norms."""

from itertools import pairwise

import pytest
import safetensors.torch
import timm
import torch
from torch import nn
from torchvision.models import get_model
from torchvision.transforms.functional import normalize

from lightning_colorize.networks import (
    ConvEncoder,
    MobileNetV2Encoder,
    PyramidEncoder,
    RegNetEncoder,
    ResNetEncoder,
    TimmEncoder,
    UNetEncoder,
    VGG16Encoder,
    WeightsError,
    ZhangEncoder,
    parameter_count,
)
from lightning_colorize.networks.encoders import pretrained, torchvision_backbone, weights
from lightning_colorize.networks.encoders.torchvision_backbone import Float32DepthwiseConv2d

R = (2, 4, 8, 16, 32)
HALF = {"normalization": "half"}
RESNET = (ResNetEncoder, {"levels": 5, "normalization": "0..1"})
MOBILE = (MobileNetV2Encoder, HALF)
SWIN = {"strict_img_size": False, "depths": (1, 1, 1, 1), "embed_dim": 12}  # maps of (B, H, W, C)
VIT = {"levels": [2], "model_args": {"dynamic_img_size": True}}
PADDED = {**VIT, "model_args": {"dynamic_img_size": True, "dynamic_img_pad": True}}

# class, arguments, channels, reductions, parameters
CASES = {
    "conv": (ConvEncoder, {"widths": [4, 6]}, (4, 6), (1, 2), 9 * (4 + 16 + 24 + 36) + 40),
    "unet": (UNetEncoder, {"size": 8, "width": 2}, (2, 4, 8), R[:3], 16 * (2 + 8 + 32) + 8),
    "resnet18": (*RESNET, (64, 64, 128, 256, 512), R, 11_170_240),
    "resnet18 to /8": (ResNetEncoder, {}, (64, 64, 128), R[:3], 676_800),
    "resnet34": (ResNetEncoder, {"depth": 34}, (64, 64, 128), R[:3], 1_341_632),
    "mobilenet_v2": (*MOBILE, (16, 24, 32, 96, 320), R, 1_811_136),
    "mobilenet_v2 to /16": (MobileNetV2Encoder, {"levels": 4}, (16, 24, 32, 96), R[:4], 541_952),
    "regnet_x_400mf": (RegNetEncoder, {}, (32, 32, 64, 160, 400), R, 5_094_400),
    "vgg16": (VGG16Encoder, {}, (64, 128, 256, 512, 512), R, 14_714_688),
    "zhang": (ZhangEncoder, {}, (64, 128, 256, 512), (1, 2, 4, 8), 28_877_376),
    "zhang 2016": (ZhangEncoder, {"strided": True}, (64, 128, 512), R[:3], 28_877_376),
    "test_convnext": (TimmEncoder, {}, (24, 32, 48, 64), R[1:], 206_232),
    "test_resnet": (TimmEncoder, {"levels": [1, 3]}, (32, 192), (4, 16), 104_560),
    "convnext_atto": (TimmEncoder, {}, (40, 80, 160, 320), R[1:], 3_372_600),
    "efficientnet_b0": (TimmEncoder, {}, (16, 24, 40, 112, 320), R, 3_594_812),
    "efficientnet_lite0": (TimmEncoder, HALF, (16, 24, 40, 112, 320), R, 2_958_272),
    "mobilenetv4_conv_small": (TimmEncoder, {}, (32, 32, 64, 96, 960), R, 1_261_088),
    "tiny_vit_5m_224": (TimmEncoder, {}, (64, 128, 160, 320), R[1:], 5_070_548),
    "swin_tiny_patch4_window7_224": (
        *(TimmEncoder, {"model_args": SWIN}, (12, 24, 48, 96), R[1:], 181_917),
    ),
    "test_vit": (TimmEncoder, VIT, (64,), (16,), 148_160),
    "test_vit pyramid": (PyramidEncoder, {"width": 8}, (8,) * 4, R[1:], 170_576),
}


def build(name, **arguments):
    cls, own, *_ = CASES[name]
    if cls is PyramidEncoder:
        return cls(TimmEncoder("test_vit", **PADDED), **own)
    return cls(**{"name": name} if cls is TimmEncoder else {}, **own, **arguments)


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    """Info, sizes, gradients, and a state dict that another encoder takes."""
    _, _, channels, reductions, parameters = CASES[name]
    torch.manual_seed(0)
    encoder, other = build(name), build(name)
    assert encoder.info == (channels, reductions)
    assert parameter_count(encoder) == (parameters, 0)
    assert encoder.weights_from == "random"

    sizes = (
        [(64, 96)]
        if name in ("swin_tiny_patch4_window7_224", "test_vit")
        else [(97, 131), (64, 96)]
    )
    for size in sizes:
        L = torch.rand(2, 1, *size) * 2 - 1
        features = encoder(L)
        assert tuple(f.shape[1] for f in features) == channels
        for feature, reduction in zip(features, reductions, strict=True):
            for actual, side in zip(feature.shape[-2:], size, strict=True):
                assert side // reduction <= actual <= -(-side // reduction)
    sum(f.sum() for f in features).backward()
    # A parameter without a gradient would also stop data-parallel training.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())

    other.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        for ours, theirs in zip(encoder.eval()(L), other.eval()(L), strict=True):
            assert ours.std() > 0
            assert torch.equal(ours, theirs)


# Published weights.


def torchvision_model(name):
    """Return a model as after training, in numbers that half precision can hold."""
    torch.manual_seed(0)
    with torch.device("meta" if name == "vgg16" else "cpu"):  # a classifier of half a gigabyte
        network = get_model(name)
    if name == "vgg16":  # with a classifier of another shape
        network.classifier = nn.Linear(3, 2)
        for parameter in network.to_empty(device="cpu").parameters():
            nn.init.normal_(parameter, std=0.05)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return network.half().float().eval()


# The modules of each level.
TORCHVISION = {
    "resnet18": lambda n: [
        *([n.conv1, n.bn1, n.relu], [n.maxpool, n.layer1], [n.layer2], [n.layer3], [n.layer4])
    ],
    "mobilenet_v2": lambda n: [n.features[a:b] for a, b in pairwise((0, 2, 4, 7, 14, 18))],
    "regnet_x_400mf": lambda n: [[n.stem], *([block] for block in n.trunk_output)],
    "vgg16": lambda n: [n.features[a:b] for a, b in pairwise((0, 5, 10, 17, 24, 31))],
}


def torchvision_features(name, network, x):
    for level in TORCHVISION[name](network):
        x = nn.Sequential(*level)(x)
        yield x


def grey_as_rgb(L, name):
    """Return the input of the model that an encoder starts from."""
    grey, normalization = (L + 1) / 2, CASES[name][1].get("normalization")
    if normalization:
        return {"half": L, "0..1": grey}[normalization].repeat(1, 3, 1, 1)
    grey = grey.repeat(1, 3, 1, 1)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    if CASES[name][0] is TimmEncoder:
        published = timm.get_pretrained_cfg(name)
        mean, std = torch.tensor([published.mean, published.std])
    if name != "vgg16":  # weights are summed, so one constant for all
        mean, std = mean.mean().expand(3), std.mean().expand(3)
    return normalize(grey, mean.tolist(), std.tolist())


def assert_alike(features, expected):
    for ours, theirs in zip(features, expected, strict=True):
        scale = theirs.abs().max()
        assert scale > 0
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TORCHVISION)
def test_file_and_download_give_torchvisions_features(name, tmp_path, monkeypatch):
    network = torchvision_model(name)
    file, published = tmp_path / "weights.pth", []
    torch.save(network.half().state_dict(), file)
    monkeypatch.setattr(
        torchvision_backbone, "fetch_torchvision", lambda p: published.append(p) or torch.load(file)
    )
    encoder, downloaded = build(name, weights=file, pretrained=True), build(name, pretrained=True)
    assert len(published) == 1  # a file takes precedence
    assert encoder.weights_from == f"file {file}"
    version = "V2" if name == "regnet_x_400mf" else "V1"
    assert downloaded.weights_from == f"torchvision {published[0]}"
    assert published[0].name == f"IMAGENET1K_{version}"
    assert type(published[0]).__name__.lower() == f"{name}_weights"
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    L = torch.rand(2, 1, 96, 65) * 2 - 1
    with torch.no_grad():
        rgb = grey_as_rgb(L, name)
        expected = [*torchvision_features(name, network.float(), rgb)]
        assert_alike(encoder.eval()(L), expected)
        assert_alike(downloaded.eval()(L), expected)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("test_convnext", ".safetensors"),
        ("convnext_atto", ".pth"),
        ("efficientnet_b0", ".pth"),
        ("efficientnet_lite0", ".safetensors"),
        ("mobilenetv4_conv_small", ".pth"),
        ("tiny_vit_5m_224", ".pth"),
    ],
)
def test_file_gives_timms_features(name, suffix, tmp_path):
    torch.manual_seed(0)
    file = tmp_path / f"weights{suffix}"
    whole = timm.create_model(name, num_classes=7).eval()
    for buffer in whole.buffers():
        if buffer.is_floating_point():
            buffer.add_(torch.rand_like(buffer) * 0.1)
    save = torch.save if file.suffix == ".pth" else safetensors.torch.save_file
    save(whole.state_dict(), file)
    encoder = build(name, weights=file).eval()
    L = torch.rand(1, 1, 64, 96) * 2 - 1
    with torch.no_grad():
        rgb = grey_as_rgb(L, name)
        assert_alike(encoder(L), whole.forward_intermediates(rgb, intermediates_only=True))


def test_pretrained_loads_the_weights_of_timm(monkeypatch):
    create, calls = timm.create_model, []

    def fetching(name, pretrained=False, **arguments):
        calls.append(pretrained)
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", fetching)
    monkeypatch.setattr(weights, "answers", lambda url: True)
    encoder = TimmEncoder("test_resnet", pretrained=True, frozen=True)
    assert calls == [True]
    assert encoder.weights_from == "timm test_resnet"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "convnext_ato"}, r"convnext_ato.*nearest: convnext_atto, .*, .*"),
        ({"name": "resnet18.no_such_tag"}, "Invalid pretrained tag"),
        ({"name": "test_resnet", "levels": [9]}, r"out_indices.*\(9,\)"),
        ({"name": "test_vit"}, "160.*model_args"),
        ({"name": "test_vit", "model_args": {"dynamic_img_size": True}}, r"levels: \[2\]"),
    ],
)
def test_wrong_use_of_timm_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        TimmEncoder(**arguments)
    assert "\n" not in str(caught.value)


def test_padding_as_tensorflow_is_timms():
    """It is constant here, so that graphs for any size can be exported."""
    encoder = TimmEncoder("mobilenet_edgetpu_100", model_args={"pad_type": "same"}).eval()
    own = timm.create_model(
        "mobilenet_edgetpu_100", pad_type="same", in_chans=1, features_only=True
    ).eval()
    own.load_state_dict(encoder.backbone.state_dict())
    L = torch.rand(1, 1, 64, 96)
    assert all(map(torch.equal, encoder.backbone(L), own(L)))


# Freezing, batch norms.


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision_model("resnet18").state_dict(), file)
    return file


def test_frozen_encoder_does_not_change(resnet18):
    encoder = ResNetEncoder(weights=resnet18, frozen=True, norm_eval=False)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    L = torch.rand(4, 1, 32, 32, requires_grad=True)
    for _ in range(2):
        encoder.train()
        encoder(L)[-1].sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    assert L.grad.abs().sum() > 0
    assert parameter_count(encoder) == (0, 676_800)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ({}, False),
        ({"norm_eval": True}, False),
        ({"norm_eval": False}, True),
        ({"weights": None}, True),
    ],
)
def test_norm_eval_keeps_statistics_while_weights_train(resnet18, arguments, changes):
    encoder = ResNetEncoder(**{"weights": resnet18, **arguments})
    before = encoder.stages[0][1].running_mean.clone()
    encoder(torch.rand(4, 1, 32, 32))[-1].sum().backward()  # Lightning does not call train() first
    encoder.train()
    encoder(torch.rand(4, 1, 32, 32))
    assert (not torch.equal(before, encoder.stages[0][1].running_mean)) == changes
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize("folded", [True, False])
def test_folded_norms_refuse_to_train(folded, tmp_path):
    """Folded: identity plus a shift, as fresh ones are but for the shift."""
    network = get_model("mobilenet_v2", num_classes=1001)
    for module in network.modules():
        if folded and isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    MobileNetV2Encoder(weights=tmp_path / "w.pth", norm_eval=False, frozen=True)
    if folded:
        with pytest.raises(WeightsError, match="norm_eval: true"):
            MobileNetV2Encoder(weights=tmp_path / "w.pth", norm_eval=False)
    else:
        assert not MobileNetV2Encoder(weights=tmp_path / "w.pth", norm_eval=False).norm_eval


def test_frozen_without_weights_and_levels_out_of_range_are_refused():
    for option in ("frozen", "norm_eval"):
        with pytest.raises(WeightsError, match=rf"{option}: true .* true or weights: PATH"):
            ResNetEncoder(**{option: True}).require_weights()
    for levels in (0, 6):
        with pytest.raises(ValueError, match=f"levels is {levels}; ResNetEncoder supports 1 to 5"):
            ResNetEncoder(levels=levels)


@pytest.mark.parametrize("size", [(16, 16), (9, 12)])
def test_fp32_depthwise_equals_the_convolution_it_replaces(size):
    """Under bf16 autocast it is the more exact of the two, and of the same type."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False)
    ours = Float32DepthwiseConv2d(conv)
    x = torch.randn(2, 6, *size, requires_grad=True)
    grads = [torch.autograd.grad(m(x).square().sum(), [x, conv.weight]) for m in (conv, ours)]
    torch.testing.assert_close(ours(x), conv(x))
    torch.testing.assert_close(grads[1], grads[0])
    with torch.autocast("cpu", torch.bfloat16):
        rough = ours(x.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough, conv(x.bfloat16().float()).bfloat16())


def test_any_layers_of_vgg16_with_batch_norms():
    """Also those whose output the next layer would overwrite."""
    torch.manual_seed(0)
    layers = [0, 8, 13, 24]
    encoder = VGG16Encoder(batch_norm=True, layers=layers).eval()
    assert encoder.info == ((64, 128, 128, 512), (1, 2, 4, 8))
    reference = get_model("vgg16_bn", num_classes=1).features[:25].eval()
    values = list(encoder.state_dict().values())
    reference.load_state_dict(dict(zip(reference.state_dict(), values, strict=True)))
    seen = []
    for layer in layers:
        reference[layer].register_forward_hook(lambda *given: seen.append(given[2].clone()))
    rgb = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        reference(normalize(rgb, pretrained.IMAGENET_MEAN, pretrained.IMAGENET_STD))
        for ours, theirs in zip(encoder(rgb * 2 - 1), seen, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"layers are \[3, 2\]; they must ascend"):
        VGG16Encoder(layers=[3, 2])
