"""Tests that need a CUDA device: colors, fp32 metrics, portable checkpoints, the GPU options.

The logic of the GPU options is tested on a CPU, where the same code runs; these tests cover nvJPEG,
streams, Triton and tensor cores.
"""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lightning_colorize.color import RawBatch, full_precision, set_tf32, to_lab, to_rgb
from lightning_colorize.color.lab import kornia_converts
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions
from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.dataset import ImageDataset
from lightning_colorize.data.device import cached
from lightning_colorize.data.device.cached import DeviceDataset, DeviceImages
from lightning_colorize.data.device.decode import DeviceDecoder, JpegDataset
from lightning_colorize.data.device.transfer import prefetched
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.inference import load_model
from lightning_colorize.metrics.functional import measure
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands, make_image

EVERYTHING = Path(__file__).parents[2] / "experiments" / "gpu" / "all.yaml"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(scope="module")
def gpu_run(photo_folder, tmp_path_factory):
    """The folder of a run that trained in bf16 on the GPU for two epochs."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("gpu"))
    words = ["--trainer.accelerator", "gpu", "--trainer.devices", 1]
    return command.fit("bf16", *words, "--trainer.precision", "bf16-mixed")


@pytest.fixture
def tf32():
    set_back = set_tf32(True)
    yield
    set_back()


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("autocast", [False, True])
def test_lab_and_metrics_equal_the_cpus_under_autocast_and_tf32(autocast):
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
    rgb[0], rgb[1] = 0, 255
    L, ab = to_lab(rgb)
    expected = measure(ImagePair(L, ab.flip(0), ab))
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        L_gpu, ab_gpu = to_lab(rgb.cuda())
        back = to_rgb(L_gpu, ab_gpu)
        measured = measure(ImagePair(L.cuda(), ab.flip(0).cuda(), ab.cuda()))
    assert kornia_converts(ab_gpu.device)
    torch.testing.assert_close(L_gpu.cpu(), L, atol=1e-3, rtol=0)
    torch.testing.assert_close(ab_gpu.cpu(), ab, atol=1e-3, rtol=0)
    torch.testing.assert_close(back.cpu(), rgb / 255, atol=1e-3, rtol=0)
    torch.testing.assert_close(measured.cpu(), expected, atol=1e-3, rtol=1e-4)


def test_gradients_of_colors_equal_the_cpus():
    """Outside sRGB too, in the TF32 of torch's default: kornia converts by a convolution."""
    generator = torch.Generator().manual_seed(0)
    L = torch.rand(2, 1, 64, 64, generator=generator) * 100
    ab = (torch.rand(2, 2, 64, 64, generator=generator) - 0.5) * 220
    gradients = []
    for device in ("cpu", "cuda"):
        inputs = [tensor.to(device).requires_grad_() for tensor in (L, ab)]
        to_rgb(*inputs, clip=False).square().sum().backward()
        gradients.append(torch.cat([tensor.grad.cpu() for tensor in inputs], dim=1))
    scale = gradients[0].abs().max()
    torch.testing.assert_close(gradients[1] / scale, gradients[0] / scale, atol=1e-3, rtol=0)


@pytest.mark.usefixtures("tf32")
def test_tf32_is_on_elsewhere():
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TF32")
    values = torch.rand(256, 256, generator=torch.Generator().manual_seed(0)).cuda()
    kernel = values[:, :, None, None]
    maps = values[None, :, :, None].expand(1, 256, 256, 8).contiguous()
    with full_precision(values):
        product, convolved = values @ values, F.conv2d(maps, kernel)
    assert (values @ values - product).abs().max() > 1e-4
    assert (F.conv2d(maps, kernel) - convolved).abs().max() > 1e-4


@pytest.mark.parametrize("augmented", [True, False])
def test_compiled_conversion_equals_cpu(augmented):
    coarse = torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 255
    rgb = F.interpolate(coarse, size=(72, 72), mode="bilinear").to(torch.uint8)
    augmentation = (
        Augmentation(64, AugmentationOptions(rotation=5.0, grey_jitter=0.5)) if augmented else None
    )
    batches = []
    for images, compiled in ((rgb, False), (rgb.cuda(), False), (rgb.cuda(), True)):
        torch.manual_seed(0)
        batches.append(to_color_batch(RawBatch(images, [""] * 6), augmentation, compiled))
    for batch in batches[1:]:
        torch.testing.assert_close(batch.L.cpu() / 100, batches[0].L / 100, atol=1e-4, rtol=0)
        torch.testing.assert_close(batch.ab.cpu() / 110, batches[0].ab / 110, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """JPEGs of several sizes, one in CMYK, one rotated by EXIF, a truncated one, and a PNG."""
    folder = tmp_path_factory.mktemp("jpegs")
    for number, size in enumerate(((300, 200), (200, 300), (300, 200), (180, 180), (500, 180))):
        make_image(number, *size).save(folder / f"{number}.jpg", quality=95)
    make_image(5, 240, 200).convert("CMYK").save(folder / "cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    make_image(6, 240, 200).save(folder / "turned.jpg", exif=exif)
    make_image(7, 240, 200).save(folder / "other.png")
    (folder / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:4000])
    return FileImages(folder, sorted(path.name for path in folder.iterdir()))


def test_device_decoding_equals_cpu(jpegs):
    keys = [(index, 2**31 * (index % 3)) for index in range(len(jpegs))]
    usual, shipping = (kind(jpegs, 128, training=True) for kind in (ImageDataset, JpegDataset))
    expected = usual.collate([usual[key] for key in keys])
    shipped = shipping.collate([shipping[key] for key in keys])
    assert len(shipped.jpegs) == 5
    raw = DeviceDecoder(torch.device("cuda"), usual)(shipped)
    assert raw.rgb.device.type == "cuda"
    assert raw.indices == expected.indices
    assert [b.name for b in raw.corrupt] == [b.name for b in expected.corrupt] == ["cut.jpg"]
    # Another decoder and chroma upsampling: other values, the same positions.
    errors = (raw.rgb.cpu().int() - expected.rgb.int()).abs().float().mean(dim=(1, 2, 3))
    assert errors.max() < 2.0
    decoded_by_workers = [index for index in range(len(errors)) if index not in shipped.jpegs]
    assert errors[decoded_by_workers].max() == 0


def test_prefetched_batches_are_ready(photo_folder):
    """Each batch is compared while the next is decoded, in another stream."""
    names = [f"train/{p.name}" for p in sorted((photo_folder / "train").iterdir())]
    dataset = JpegDataset(FileImages(photo_folder, names), 36, training=True)
    device = torch.device("cuda")
    keys = [[(4 * b + i, 0) for i in range(4)] for b in range(3)] * 8
    shipped = [dataset.collate([dataset[key] for key in batch]) for batch in keys]
    decoder = DeviceDecoder(device, dataset)
    expected = [decoder(batch).rgb.clone() for batch in shipped]
    torch.cuda.synchronize()
    for raw, rgb in zip(decoder.batches(iter(shipped)), expected, strict=True):
        busy = torch.rand(2048, 2048, device=device)
        for _ in range(5):
            busy = busy @ busy
        assert torch.equal(raw.rgb, rgb)


def test_device_cache_equals_host_cache(photo_folder):
    names = [f"train/{p.name}" for p in sorted((photo_folder / "train").iterdir())]
    files = FileImages(photo_folder, names)
    images = DeviceImages(files, 36, torch.device("cuda"))
    assert all(block.is_cuda for block in images._blocks)
    keys = [(index % 12, (index * 2**29) % 2**32) for index in range(40)]
    usual = ImageDataset(CachedImages(files, 36), 36, training=True)
    expected = usual.collate([usual[key] for key in keys])
    ours = DeviceDataset(images, 36, training=True).__getitems__(keys).rgb
    assert ours.is_cuda
    assert torch.equal(ours.cpu(), expected.rgb)
    for sent in prefetched(iter([expected] * 3), torch.device("cuda")):
        assert torch.equal(sent.rgb, ours)


def test_data_path_does_not_wait_for_the_gpu(photo_folder):
    names = [f"train/{p.name}" for p in sorted((photo_folder / "train").iterdir())]
    images = DeviceImages(FileImages(photo_folder, names), 36, torch.device("cuda"))
    dataset = DeviceDataset(images, 36, training=True)
    shares = dict.fromkeys(("grey_jitter", "blur", "grain", "jpeg", "aging", "mixup"), 0.5)
    augmentation = Augmentation(32, AugmentationOptions(**shares))
    try:
        for mode in ("default", "error"):  # the first batch loads kernels and constants
            torch.cuda.set_sync_debug_mode(mode)
            rgb = dataset.__getitems__([(index, 2**31) for index in range(12)]).rgb
            to_color_batch(RawBatch(rgb, names[:12]), augmentation)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_device_memory_limit(photo_folder, monkeypatch):
    free, total = torch.cuda.mem_get_info()
    most = int(min(free, cached.SHARE * total))
    monkeypatch.setattr(cached, "bytes_needed", lambda count, side: most + 2**20)
    files = FileImages(photo_folder, ["train/000.jpg"])
    with pytest.raises(UsageError, match="may take 50% of the"):
        DeviceImages(files, 36, torch.device("cuda"))


@pytest.mark.parametrize("more", [[], ["--data.cache", "never", "--data.num_workers", 2]])
def test_run_with_every_switch(command, photo_folder, more):
    gpu = ["--trainer.accelerator", "gpu", "--trainer.devices", 1]
    everything, plain = (
        command.fit(name, *gpu, *words)
        for name, words in (
            ("everything", ["--config", EVERYTHING, *more]),
            ("plain", ["--trainer.precision", "32-true"]),
        )
    )
    first, second = RunResult.read(everything), RunResult.read(plain)
    assert first.status == "finished"
    assert first.metrics["val/psnr"] == pytest.approx(second.metrics["val/psnr"], abs=1.0)
    assert first.peak_device_memory > 0
    L = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 100
    ab = load_model(everything).predict(L)
    assert ab.shape == (2, 2, 32, 32)
    assert torch.isfinite(ab).all()
    assert command("resume", everything, "--trainer.max_epochs", 3) == 0
    assert RunResult.read(everything).epochs == 3


def test_metrics_of_a_run_in_bf16_are_computed_in_fp32(gpu_run, finished_run):
    """Baselines have no network: their metrics must equal those of the CPU run, in fp32."""
    result, on_cpu = RunResult.read(gpu_run), RunResult.read(finished_run)
    assert result.status == "finished"
    for name in ("grey", "mean"):
        for metric, value in on_cpu.baselines[name].items():
            assert result.baselines[name][metric] == pytest.approx(value, rel=1e-3, abs=1e-3)


def test_gpu_checkpoint_works_on_the_cpu(gpu_run, photo_folder, command, tmp_path):
    on_cpu, on_gpu = load_model(gpu_run), load_model(gpu_run, device="cuda")
    assert on_cpu.model.device.type == "cpu"
    L = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 100
    ab, ab_gpu = on_cpu.predict(L), on_gpu.predict(L)
    assert ab_gpu.device.type == "cuda"
    # In LAB units: convolutions on the GPU may be in TF32.
    torch.testing.assert_close(ab_gpu.cpu(), ab, atol=0.5, rtol=0)

    psnr = {}
    for device in ("cpu", "cuda"):
        path = tmp_path / f"{device}.json"
        words = ("--data", photo_folder, "--device", device, "--json", path)
        assert command("evaluate", gpu_run, *words) == 0
        numbers = json.loads(path.read_text())
        assert numbers["device"].startswith(device)
        psnr[device] = numbers["metrics"]["model"]["psnr"]
    assert psnr["cuda"] == pytest.approx(psnr["cpu"], abs=0.02)
    # The run itself was tested with the network in bf16.
    assert RunResult.read(gpu_run).metrics["test/psnr"] == pytest.approx(psnr["cpu"], abs=0.2)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_from_pinned_memory_and_are_converted_on_the_device(photo_folder, workers):
    data = ColorizationDataModule(str(photo_folder), size=32, batch_size=4, num_workers=workers)
    data.setup("fit")
    raw = next(iter(data.train_dataloader()))
    assert raw.rgb.is_pinned()
    batch = data.on_after_batch_transfer(raw._replace(rgb=raw.rgb.cuda(non_blocking=True)), 0)
    assert batch.L.device.type == batch.ab.device.type == "cuda"
    assert batch.L.dtype == batch.ab.dtype == torch.float32
