import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def inception(tmp_path_factory):
    """A file of random weights for torch-fidelity's Inception; no published ones are at hand."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor, "load_state_dict_from_url", lambda url, **options: {})
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = extractor.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # torch's own would make features of 1e-10
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    file = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture
def pairs():
    """Return a function that makes true images and colored ones: (N, 3, side, side) in uint8."""

    def make(count, side=40):
        random = torch.Generator().manual_seed(0)
        coarse = torch.rand(2, count, 3, 4, 4, generator=random)
        true, other = (nn.functional.interpolate(each, size=(side, side)) for each in coarse)
        return (true * 255).byte(), ((0.6 * true + 0.4 * other) * 200).byte()

    return make
