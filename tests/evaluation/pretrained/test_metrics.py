from urllib.error import URLError

import pytest
import torch

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation.pretrained import METRICS, PretrainedMetrics, find_metrics

CPU = torch.device("cpu")
PUBLISHED = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture
def resnet(tmp_path):
    """A file of random weights of a small timm model."""
    import timm

    torch.manual_seed(0)
    file = tmp_path / "resnet.pt"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


def _measure(words, images):
    measured = PretrainedMetrics(find_metrics(words), CPU)
    for true, colored in zip(*images, strict=True):
        measured.update(torch.stack([colored, true]), true)
    return measured.compute(["system", "truth"], 1)


def test_a_timm_model_by_path_is_named_as_what_it_is(resnet, pairs):
    (result,) = _measure([f"frechet:test_resnet={resnet}"], pairs(4))
    assert result.name == "frechet:test_resnet"
    assert "not FID" in result.title
    assert result.sha256 == sha256_of(resnet)
    assert result.label == f"frechet:test_resnet {result.sha256[:8]}"
    assert result.images == 4
    assert result.rows["system"].value > 1e-6
    assert result.rows["system"].infinite is not None
    assert result.rows["truth"].value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("fd", "unknown metric fd; choose from fid, kid"),
        ("fid=gone.pth", "gone.pth does not exist"),
        ("frechet:test_resnet", "add =WEIGHTS"),
        ("frechet:test_resne=x", r"timm has no model 'test_resne'; nearest: test_resnet"),
    ],
)
def test_wrong_words_are_one_line(word, message):
    with pytest.raises(UsageError, match=message) as caught:
        find_metrics([word])
    assert "\n" not in str(caught.value)


def test_a_metric_given_twice_is_refused(resnet):
    with pytest.raises(UsageError, match="given twice"):
        find_metrics(["kid", "fid", "kid"])


def test_weights_that_do_not_fit_are_refused(resnet, tmp_path):
    for word in (f"fid={resnet}", f"lpips_alex={resnet}", f"frechet:test_vit={resnet}"):
        with pytest.raises(UsageError, match=r"resnet\.pt: .*(?i:missing)") as caught:
            PretrainedMetrics(find_metrics([word]), CPU)
        assert "\n" not in str(caught.value)


def test_pickles_are_not_executed(tmp_path):
    class Touch:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"a": Touch()}, tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="is not a state dict"):
        PretrainedMetrics(find_metrics([f"fid={tmp_path / 'evil.pth'}"]), CPU)
    assert not (tmp_path / "executed").exists()


def test_without_network_a_metric_is_not_available_and_the_others_are(
    resnet, pairs, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    asked = []

    def download(url, file, prefix, progress):
        asked.append((url.rpartition("/")[2], prefix))
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    words = ["fid", "lpips_alex", f"frechet:test_resnet={resnet}"]
    fid, lpips, frechet = _measure(words, pairs(3))
    assert asked == [(PUBLISHED, "6726825d"), ("alexnet-owt-7be5be79.pth", "7be5be79")]
    for result in (fid, lpips):
        assert "no route to host" in result.reason
        assert result.rows == {}
        assert result.sha256 is None
    assert frechet.reason is None
    assert frechet.rows["system"].value > 0


def test_published_weights_are_taken_from_the_cache(inception, pairs, monkeypatch, tmp_path):
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(extractor.FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints" / PUBLISHED).symlink_to(inception)
    (result,) = _measure(["fid"], pairs(2))
    assert result.reason is None
    assert result.sha256 == sha256_of(inception)
    assert result.title.endswith("the weights are not the published ones")


def test_a_damaged_file_in_the_cache_is_named_without_its_folder(pairs, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints" / PUBLISHED).write_bytes(b"damaged")
    (result,) = _measure(["kid"], pairs(2))
    assert f"{PUBLISHED} is not a state dict" in result.reason
    assert str(tmp_path) not in result.reason


def test_an_image_too_small_ends_its_metric_only(resnet, pairs, tmp_path):
    from torchvision.models import alexnet

    state = alexnet(num_classes=1).state_dict()
    torch.save({k: v for k, v in state.items() if "features" in k}, tmp_path / "alex.pt")
    words = [f"lpips_alex={tmp_path / 'alex.pt'}", f"frechet:test_resnet={resnet}"]
    lpips, frechet = _measure(words, pairs(3, side=16))
    assert "an image of 16x16 pixels" in lpips.reason
    assert frechet.reason is None


def test_means_over_images_have_intervals():
    reduced = {metric.name: metric.reduction.values for metric in METRICS}
    system, _ = reduced["lpips_alex"](torch.arange(8.0).view(2, 4, 1), 1)
    assert system.value == 1.5
    assert 0 <= system.low < 1.5 < system.high <= 3
    features = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[2.0, 0.0], [4.0, 3.0]]])
    system, truth = reduced["clip_score"](features, 1)
    assert truth.value == pytest.approx(100)
    assert system.value == pytest.approx(98)
