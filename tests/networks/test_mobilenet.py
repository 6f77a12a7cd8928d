from itertools import pairwise

import pytest
import torch
import torchvision
from torchvision.transforms.functional import normalize

from lightning_colorize.networks import MobileNetV2Encoder, WeightsError
from lightning_colorize.networks.encoders.mobilenet import Float32DepthwiseConv2d


@pytest.fixture
def folded_weights(tmp_path):
    """A state dict whose batch norms are identity plus shift, float16, 1001 classes."""
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2(num_classes=1001)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data *= 0.7
    path = tmp_path / "mobilenet_v2.pt"
    torch.save(
        {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}, path
    )
    network.load_state_dict({k: v.float() for k, v in torch.load(path).items()})
    return path, network.eval()


def test_levels():
    encoder = MobileNetV2Encoder()
    features = encoder(torch.zeros(1, 1, 64, 128))
    assert [tuple(f.shape[1:]) for f in features] == [
        (16, 32, 64), (24, 16, 32), (32, 8, 16), (96, 4, 8), (320, 2, 4),
    ]  # fmt: skip
    assert MobileNetV2Encoder(levels=4).info == ((16, 24, 32, 96), (2, 4, 8, 16))


def test_folded_half_precision_weights_give_torchvisions_features(folded_weights):
    path, network = folded_weights
    encoder = MobileNetV2Encoder(weights=path, normalization="half")  # in training mode
    L = torch.rand(2, 1, 65, 96) * 2 - 1
    with torch.no_grad():
        ours = encoder(L)
        x, ends = L.repeat(1, 3, 1, 1), (0, 2, 4, 7, 14, 18)
        for level, (start, end) in enumerate(pairwise(ends)):
            x = network.features[start:end](x)
            torch.testing.assert_close(ours[level], x, rtol=1e-3, atol=1e-3)
    assert encoder.stages[0][0][0].weight.dtype == torch.float32


def test_folded_weights_refuse_to_train_their_norms(folded_weights):
    with pytest.raises(WeightsError, match="norm_eval: true"):
        MobileNetV2Encoder(weights=folded_weights[0], norm_eval=False)
    MobileNetV2Encoder(weights=folded_weights[0], norm_eval=False, frozen=True)


def test_fresh_norms_are_not_taken_for_folded_ones(tmp_path):
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), tmp_path / "w.pth")
    assert not MobileNetV2Encoder(weights=tmp_path / "w.pth", norm_eval=False).norm_eval


def test_normalization():
    torch.manual_seed(0)
    half = MobileNetV2Encoder(normalization="half", levels=1).eval()
    imagenet = MobileNetV2Encoder(normalization="imagenet", levels=1).eval()
    imagenet.load_state_dict(half.state_dict())
    L = torch.rand(1, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        as_imagenet = normalize((L + 1) / 2, [0.449], [0.226])
        torch.testing.assert_close(half(as_imagenet)[0], imagenet(L)[0])


@pytest.mark.parametrize("size", [(16, 16), (9, 12)])
def test_fp32_depthwise_equals_the_convolution_it_replaces(size):
    """Under bf16 autocast it is the more exact of the two, and of the same type."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False)
    ours = Float32DepthwiseConv2d(conv)
    x = torch.randn(2, 6, *size, requires_grad=True)
    grads = [torch.autograd.grad(m(x).square().sum(), [x, conv.weight]) for m in (conv, ours)]
    torch.testing.assert_close(ours(x), conv(x))
    torch.testing.assert_close(grads[1], grads[0])
    with torch.autocast("cpu", torch.bfloat16):
        rough = ours(x.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough, conv(x.bfloat16().float()).bfloat16())


def test_every_depthwise_convolution_of_stride_2_stays_in_fp32():
    encoder = MobileNetV2Encoder()
    remaining = [
        m
        for m in encoder.modules()
        if isinstance(m, torch.nn.Conv2d) and m.groups > 1 and m.stride == (2, 2)
    ]
    assert not remaining
    assert sum(isinstance(m, Float32DepthwiseConv2d) for m in encoder.modules()) == 4
