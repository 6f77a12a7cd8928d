import pytest
import safetensors.torch
import timm
import torch

from lightning_colorize.networks import TimmEncoder, WeightsError
from lightning_colorize.networks.encoders import fetch

TINY = ["test_resnet", "test_efficientnet", "test_convnext"]


def renamed(state):
    """timm flattens the first level of names in feature pyramids."""
    return {k.replace("stages.", "stages_").replace("stem.", "stem_"): v for k, v in state.items()}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [(64, 64), (97, 131)])
def test_info_matches_the_features(name, size):
    encoder = TimmEncoder(name)
    features = encoder(torch.zeros(2, 1, *size))
    assert tuple(f.shape[1] for f in features) == encoder.info.channels
    for feature, reduction in zip(features, encoder.info.reductions, strict=True):
        for actual, side in zip(feature.shape[-2:], size, strict=True):
            assert side // reduction <= actual <= -(-side // reduction)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_file_gives_timms_features(name, suffix, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=7)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(whole.state_dict(), path)
    else:
        safetensors.torch.save_file(whole.state_dict(), path)
    encoder = TimmEncoder(name, weights=path).eval()

    pyramid = timm.create_model(name, features_only=True).eval()
    source = renamed(whole.state_dict()) if name == "test_convnext" else whole.state_dict()
    assert not pyramid.load_state_dict(source, strict=False).missing_keys
    L = torch.rand(2, 1, 64, 64) * 2 - 1
    with torch.no_grad():  # both were trained on RGB / 127.5 - 1, which is L's own range
        for ours, theirs in zip(encoder(L), pyramid(L.repeat(1, 3, 1, 1)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_imagenet_normalization():
    encoder = TimmEncoder("resnet10t", levels=[0])
    assert encoder.mean == (0.485, 0.456, 0.406)
    assert encoder.std == (0.229, 0.224, 0.225)


def test_chosen_levels():
    encoder = TimmEncoder("test_resnet", levels=[1, 3])
    assert encoder.info.reductions == (4, 16)
    assert [f.shape[-1] for f in encoder(torch.zeros(1, 1, 64, 64))] == [16, 4]


def test_channels_last_models_are_permuted():
    encoder = TimmEncoder(
        "swin_tiny_patch4_window7_224",
        model_args={"strict_img_size": False, "depths": (1, 1, 1, 1), "embed_dim": 12},
    )
    assert [f.shape[1] for f in encoder(torch.zeros(1, 1, 64, 96))] == list(encoder.info.channels)


def test_wrong_name_lists_three_nearest():
    with pytest.raises(ValueError, match=r"convnext_ato.*nearest: convnext_atto, .*, .*") as caught:
        TimmEncoder("convnext_ato")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet18.no_such_tag"}, "Invalid pretrained tag"),
        ({"name": "test_resnet", "levels": [9]}, r"out_indices.*\(9,\)"),
        ({"name": "test_vit"}, "160.*model_args"),
        ({"name": "test_vit", "model_args": {"dynamic_img_size": True}}, r"levels: \[2\]"),
    ],
)
def test_wrong_use_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        TimmEncoder(**arguments)
    assert "\n" not in str(caught.value)


def test_plain_vit_gives_one_level():
    encoder = TimmEncoder("test_vit", levels=[2], model_args={"dynamic_img_size": True})
    assert encoder(torch.zeros(1, 1, 64, 96))[0].shape[-2:] == (4, 6)


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"do not fit this encoder: .*Missing key"):
        TimmEncoder("test_resnet", weights=tmp_path / "w.pth")


def test_pretrained_loads_the_weights_of_timm(monkeypatch):
    create, calls = timm.create_model, []

    def fetching(name, pretrained=False, **arguments):
        calls.append(pretrained)
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", fetching)
    monkeypatch.setattr(fetch, "answers", lambda url: True)
    encoder = TimmEncoder("test_resnet", pretrained=True, frozen=True)
    assert calls == [True]
    assert encoder.weights_from == "timm test_resnet"


# channels, reductions and parameters of the pyramid with one input channel
MODERN = {
    "convnext_atto": ((40, 80, 160, 320), (4, 8, 16, 32), 3_372_600),
    "efficientnet_b0": ((16, 24, 40, 112, 320), (2, 4, 8, 16, 32), 3_594_812),
    "efficientnet_lite0": ((16, 24, 40, 112, 320), (2, 4, 8, 16, 32), 2_958_272),
    "mobilenetv4_conv_small": ((32, 32, 64, 96, 960), (2, 4, 8, 16, 32), 1_261_088),
    "tiny_vit_5m_224": ((64, 128, 160, 320), (4, 8, 16, 32), 5_070_548),
}


@pytest.mark.parametrize("name", MODERN)
def test_small_modern_models_by_path_of_weights(name, tmp_path):
    """The whole model of random weights, and its batch norms' statistics, gives the features."""
    torch.manual_seed(0)
    whole = timm.create_model(name).eval()
    for buffer in whole.buffers():
        if buffer.is_floating_point():
            buffer.add_(torch.rand_like(buffer) * 0.1)
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    encoder = TimmEncoder(name, weights=tmp_path / "w.pth").eval()
    channels, reductions, parameters = MODERN[name]
    assert encoder.info == (channels, reductions)
    assert sum(p.numel() for p in encoder.parameters()) == parameters

    L = torch.rand(1, 1, 64, 96) * 2 - 1
    mean, std = sum(encoder.mean) / 3, sum(encoder.std) / 3
    rgb = (((L + 1) / 2 - mean) / std).repeat(1, 3, 1, 1)
    with torch.no_grad():
        features = encoder(L)
        expected = whole.forward_intermediates(rgb, intermediates_only=True)
    for ours, theirs in zip(features, expected, strict=True):
        scale = theirs.abs().max()
        assert scale > 0
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-4, atol=1e-4)

    encoder.train()(torch.rand(1, 1, 35, 47))[-1].sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_drop_path_is_an_argument_of_timm_and_for_training_only():
    torch.manual_seed(0)
    encoder = TimmEncoder("test_convnext", model_args={"drop_path_rate": 0.9})
    L = torch.randn(1, 1, 64, 64)
    trained = [encoder(L)[-1] for _ in range(4)]
    assert any(not torch.equal(trained[0], again) for again in trained[1:])
    encoder.eval()
    assert torch.equal(encoder(L)[-1], encoder(L)[-1])
    plain = TimmEncoder("test_convnext").eval()
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(plain(L)[-1], encoder(L)[-1])
