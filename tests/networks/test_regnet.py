import torch
from torchvision.models import regnet_x_400mf
from torchvision.transforms.functional import normalize

from lightning_colorize.networks import RegNetEncoder


def test_weights_file_gives_torchvisions_features(tmp_path):
    torch.manual_seed(0)
    reference = regnet_x_400mf(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "regnet.pth")
    encoder = RegNetEncoder(weights=tmp_path / "regnet.pth").eval()
    L = torch.rand(2, 1, 96, 64) * 2 - 1
    rgb = normalize(((L + 1) / 2).repeat(1, 3, 1, 1), [0.449] * 3, [0.226] * 3)
    with torch.no_grad():
        features = encoder(L)
        expected = reference.trunk_output(reference.stem(rgb))
    assert tuple(f.shape[1] for f in features) == encoder.info.channels
    assert tuple(96 // f.shape[2] for f in features) == encoder.info.reductions
    torch.testing.assert_close(features[-1], expected, rtol=1e-4, atol=1e-4)
