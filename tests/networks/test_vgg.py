import torch
import torchvision

from lightning_colorize.networks import VGG16Encoder, parameter_count


def test_whole_base_gives_7x7x512():
    encoder = VGG16Encoder()
    with torch.no_grad():
        features = encoder(torch.zeros(1, 1, 224, 224))
    assert tuple(features[-1].shape) == (1, 512, 7, 7)
    assert [f.shape[1] for f in features] == list(encoder.info.channels)
    assert [224 // f.shape[-1] for f in features] == list(encoder.info.reductions)


def test_weights_file_gives_torchvisions_features(tmp_path):
    torch.manual_seed(0)
    with torch.device("meta"):
        features = torchvision.models.vgg16(weights=None).features
    features = features.to_empty(device="cpu")
    for parameter in features.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    state = {f"features.{k}": v.half() for k, v in features.state_dict().items()}
    state["classifier.0.weight"] = torch.zeros(3, 2)  # of another shape, and ignored
    torch.save(state, tmp_path / "vgg16.pth")
    encoder = VGG16Encoder(weights=tmp_path / "vgg16.pth", frozen=True)

    features.load_state_dict({k: v.half().float() for k, v in features.state_dict().items()})
    L = torch.rand(1, 1, 64, 96) * 2 - 1
    rgb = torchvision.transforms.functional.normalize(
        ((L + 1) / 2).repeat(1, 3, 1, 1), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        torch.testing.assert_close(encoder(L)[-1], features(rgb), rtol=1e-4, atol=1e-4)
    assert parameter_count(encoder) == (0, 14_714_688)


def test_random_weights_keep_the_variance():
    # Uninitialized weights would be zeros or arbitrary.
    with torch.no_grad():
        last = VGG16Encoder()(torch.rand(2, 1, 64, 64) * 2 - 1)[-1]
    assert 0.01 < last.std() < 100
