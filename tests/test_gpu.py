"""What only a CUDA device shows: the same colours, fp32 metrics, checkpoints that travel."""

import json

import pytest
import torch

from lightning_colorize.color import to_lab, to_rgb
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.inference import load_task
from lightning_colorize.run_folder import read_result

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(scope="module")
def gpu_run(photo_folder, tmp_path_factory):
    """The folder of a run that trained in bf16 on the GPU for two epochs."""
    from tests.conftest import Commands

    command = Commands(photo_folder, tmp_path_factory.mktemp("gpu"))
    words = ["--trainer.accelerator", "gpu", "--trainer.devices", 1]
    return command.fit("bf16", *words, "--trainer.precision", "bf16-mixed")


def test_lab_is_that_of_the_cpu_with_autocast_on():
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    rgb[0], rgb[1] = 0, 255
    L, ab = to_lab(rgb)
    with torch.autocast("cuda", torch.bfloat16):
        L_gpu, ab_gpu = to_lab(rgb.cuda())
        back = to_rgb(L_gpu, ab_gpu)
    assert L_gpu.device.type == ab_gpu.device.type == "cuda"
    torch.testing.assert_close(L_gpu.cpu(), L, atol=1e-3, rtol=0)
    torch.testing.assert_close(ab_gpu.cpu(), ab, atol=1e-3, rtol=0)
    torch.testing.assert_close(back.cpu(), rgb / 255, atol=1e-3, rtol=0)


def test_metrics_of_a_run_in_bf16_are_computed_in_fp32(gpu_run, finished_run):
    """Baselines have no network: theirs must be those of the run on the CPU, in fp32."""
    result, on_cpu = read_result(gpu_run), read_result(finished_run)
    assert result["status"] == "finished"
    for name in ("grey", "mean"):
        for metric, value in on_cpu["baselines"][name].items():
            assert result["baselines"][name][metric] == pytest.approx(value, rel=1e-3, abs=1e-3)


def test_a_checkpoint_of_the_gpu_works_on_the_cpu(gpu_run, photo_folder, command, tmp_path):
    on_cpu, on_gpu = load_task(gpu_run), load_task(gpu_run, device="cuda")
    assert on_cpu.task.device.type == "cpu"
    L = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 100
    with torch.inference_mode():
        ab, ab_gpu = on_cpu.task(L), on_gpu.task(L.cuda())
    # In LAB units: convolutions may be in TF32 there.
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
    assert read_result(gpu_run)["metrics"]["test/psnr"] == pytest.approx(psnr["cpu"], abs=0.2)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_from_pinned_memory_and_are_converted_on_the_device(photo_folder, workers):
    data = ColorizationDataModule(str(photo_folder), size=32, batch_size=4, num_workers=workers)
    data.setup("fit")
    raw = next(iter(data.train_dataloader()))
    assert raw.rgb.is_pinned()
    batch = data.on_after_batch_transfer(raw._replace(rgb=raw.rgb.cuda(non_blocking=True)), 0)
    assert batch.L.device.type == batch.ab.device.type == "cuda"
    assert batch.L.dtype == batch.ab.dtype == torch.float32
