"""JPEGs decoded on the training device; here on the CPU, by the same code."""

import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import ImageDataset
from lightning_colorize.data.decoding import jpeg
from lightning_colorize.data.device import decode
from lightning_colorize.data.device.decode import Decoder, require_decoder
from lightning_colorize.data.device.jpegs import JpegDataset
from lightning_colorize.data.images import ConcatImages, FileImages
from lightning_colorize.data.module import ColorizationDataModule

CPU = torch.device("cpu")
# Of images at least twice as large, the workers decode a half.
SIDE = 32

# Their bytes are shipped, in this order; all others are decoded by the workers.
PLAIN = ["jpeg", "progressive_jpeg", "subsampled_jpeg", "grey_jpeg", "thin_jpeg", "long"]
ODD = ["png", "adobe_cmyk_jpeg", "swapped_profile_jpeg", "rgba_png"]


@pytest.fixture
def folder(tmp_path, images):
    """An image of every kind, plain and odd by turns, and two that are broken."""
    for name in ("thin_jpeg", *PLAIN[:4], *ODD):
        images.write(name, tmp_path / name)
    images.write_oriented(tmp_path / "turned", 6)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 170, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((340, 60)).save(tmp_path / "long", "JPEG")
    images.write_jpeg_without_end(tmp_path / "cut")
    images.write("text", tmp_path / "text")
    return tmp_path


def both(folder, names, draws=None, **options):
    """A batch decoded by workers, and one shipped as files for the device."""
    files = FileImages(folder, names)
    draws = draws or [0] * len(names)
    batches = []
    for dataset in (ImageDataset(files, SIDE, **options), JpegDataset(files, SIDE, **options)):
        shipped = dataset.collate([dataset[key] for key in enumerate(draws)])
        batches.append(shipped)
    return batches[0], batches[1]


def listed(broken):
    return [(b.name, b.error.reason) for b in broken]


def test_decoded_squares_equal_those_of_workers(folder):
    names = ["turned", "jpeg", "png", "text", "long", "adobe_cmyk_jpeg", "grey_jpeg", "cut"]
    names += [*PLAIN[1:3], "thin_jpeg", "swapped_profile_jpeg", "rgba_png"]
    draws = np.random.default_rng(1).integers(0, 2**32, len(names)).tolist()
    (expected, missing), shipped = both(folder, names, draws, random_crop=True)
    raw, broken = Decoder(CPU, SIDE)(shipped)
    assert raw.names == expected.names
    assert torch.equal(raw.rgb, expected.rgb)
    assert sorted(listed(broken)) == sorted(listed(missing))
    assert {name for name, _ in listed(broken)} == {"text", "cut"}


def test_only_plain_jpegs_are_shipped_encoded(folder):
    names = sorted([*PLAIN, *ODD, "turned", "cut", "text"])
    _, shipped = both(folder, names)
    assert {shipped.names[row] for row in shipped.jpegs} == set(PLAIN)
    sizes = [(folder / name).stat().st_size for name in names if name in PLAIN]
    assert [len(file) for file in shipped.files()] == sizes
    assert shipped.rgb.shape == (len(ODD) + 1, 3, SIDE, SIDE)
    assert [b.name for b in shipped.corrupt] == ["cut", "text"]


def test_batch_without_files_or_pixels(folder):
    for names in (["png"], ["jpeg"]):
        (expected, _), shipped = both(folder, names)
        assert torch.equal(Decoder(CPU, SIDE)(shipped)[0].rgb, expected.rgb)
    raw, broken = Decoder(CPU, SIDE)(both(folder, ["text", "cut"])[1])
    assert (len(raw.rgb), raw.names) == (0, [])
    assert [b.name for b in broken] == ["text", "cut"]


def test_fallback_to_cpu_decoding(folder, monkeypatch):
    """Nvjpeg decodes no image of a batch if one fails; it does not support the first of these."""
    (expected, _), shipped = both(folder, ["progressive_jpeg", "jpeg", "png"])
    unknown = shipped.files()[0]

    def nvjpeg(files, device):
        if any(torch.equal(file, unknown) for file in files):
            raise RuntimeError("nvjpegDecodeBatched failed")
        return jpeg.decode_jpegs(files, device)

    monkeypatch.setattr(decode, "decode_jpegs", nvjpeg)
    raw, broken = Decoder(CPU, SIDE)(shipped)
    assert broken == []
    assert raw.names == expected.names
    # Pillow decodes the first; it differs from torchvision by rounding only.
    assert (raw.rgb.int() - expected.rgb.int()).abs().max() <= 1
    assert torch.equal(raw.rgb[1:], expected.rgb[1:])


def write_corrupt(path, whole):
    """Write a JPEG with a valid header and an invalid Huffman table."""
    content = bytearray(whole.read_bytes())
    table = content.index(b"\xff\xc4") + 5
    content[table : table + 16] = b"\xff" * 16
    path.write_bytes(content)


def test_corrupt_images_are_reported_and_left_out(folder):
    write_corrupt(folder / "corrupt", folder / "jpeg")
    (expected, _), _ = both(folder, ["long", "jpeg"])
    _, shipped = both(folder, ["long", "corrupt", "jpeg"])
    assert len(shipped.jpegs) == 3
    raw, broken = Decoder(CPU, SIDE)(shipped)
    assert raw.names == ["long", "jpeg"]
    assert torch.equal(raw.rgb, expected.rgb)
    assert [b.name for b in broken] == ["corrupt"]
    assert broken[0].error.path.name == "corrupt"


def test_corrupt_training_images_are_replaced(folder):
    for name in ("corrupt", "more_corrupt"):
        write_corrupt(folder / name, folder / "jpeg")
    names = ["corrupt", "long", "more_corrupt", "text", "jpeg"]
    replaced = {"random_crop": True, "replace_corrupt": True}
    (expected, missing), shipped = both(folder, names, [2**31] * 5, **replaced)
    usual = ImageDataset(FileImages(folder, names), SIDE, **replaced)
    raw, broken = Decoder(CPU, SIDE, usual.at)(shipped)
    assert raw.names == expected.names == ["long", "long", "jpeg", "jpeg", "jpeg"]
    assert torch.equal(raw.rgb, expected.rgb)
    assert set(listed(broken)) == set(listed(missing))


def test_training_batches_are_complete(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    for split in ("train", "val"):
        (root / split).mkdir()
        shutil.copy(folder / "jpeg", root / split / "jpeg.jpg")
    write_corrupt(root / "train" / "nonsense.jpg", folder / "jpeg")
    _, trained, _ = epochs(root, "device", 0, cache="never", batch_size=1)
    assert [names for epoch in trained for names, _ in epoch] == [["train/jpeg.jpg"]] * 4


def test_pixels_decoded_at_once_are_limited(folder, monkeypatch):
    names = ["jpeg", "long", "grey_jpeg", "subsampled_jpeg", "thin_jpeg"]
    (expected, _), shipped = both(folder, names)
    at_once = []

    def counted(files, device):
        decoded = jpeg.decode_jpegs(files, device)
        at_once.append([image[0].numel() for image in decoded])
        return decoded

    monkeypatch.setattr(decode, "decode_jpegs", counted)
    monkeypatch.setattr(decode, "_AT_ONCE", 2 * 48 * 64)
    raw, _ = Decoder(CPU, SIDE)(shipped)
    assert torch.equal(raw.rgb, expected.rgb)
    assert [len(sizes) for sizes in at_once] == [1, 1, 2, 1]
    assert [sizes[0] for sizes in at_once][:2] == [48 * 64, 60 * 340]


def data_module(folder, decode, workers, **options):
    options = {"size": 32, "batch_size": 3, **options}
    data = ColorizationDataModule(str(folder), num_workers=workers, decode=decode, **options)
    data.setup("fit")
    return data


def epochs(folder, decode, workers, **options):
    data = data_module(folder, decode, workers, **options)
    loader = data.train_dataloader()
    return loader, [[(b.names, b.rgb) for b in loader] for _ in range(2)], list(data.loader("val"))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_the_decoder(photo_folder, workers):
    _, usual, val = epochs(photo_folder, "cpu", 0, cache="never", seed=3)
    loader, decoded, decoded_val = epochs(photo_folder, "device", workers, cache="never", seed=3)
    assert isinstance(loader.dataset, JpegDataset)
    for epoch, other in zip(usual, decoded, strict=True):
        assert len(epoch) == len(other) == 4
        for (names, rgb), (same_names, same) in zip(epoch, other, strict=True):
            assert names == same_names
            assert torch.equal(rgb, same)
    assert all(torch.equal(a.rgb, b.rgb) for a, b in zip(val, decoded_val, strict=True))


def test_exactly_one_batch_is_prefetched():
    begun = []

    class Recording(Decoder):
        def __call__(self, batch):
            begun.append(batch)
            if batch == 2:
                raise RuntimeError("broken")
            return batch

    decoded = Recording(CPU, SIDE).batches(iter(range(4)))
    assert next(decoded) == 0
    deadline = time.monotonic() + 5
    while len(begun) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert begun == [0, 1]
    assert next(decoded) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(decoded)


def test_position_counts_delivered_not_prefetched_batches(photo_folder):
    def loader():
        return data_module(photo_folder, "device", 0, cache="never").train_dataloader()

    whole = [batch.rgb for batch in loader()]
    stopped = loader()
    batches = iter(stopped)
    first = [next(batches).rgb for _ in range(2)]
    state = stopped.state_dict()
    assert state["position"] == 2
    batches.close()
    resumed = loader()
    resumed.load_state_dict(state)
    rest = [batch.rgb for batch in resumed]
    assert all(torch.equal(a, b) for a, b in zip(whole, [*first, *rest], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_abandoned_epoch_does_not_leak_into_the_next(photo_folder, workers):
    _, usual, _ = epochs(photo_folder, "cpu", 0, cache="never", seed=3)
    data = data_module(photo_folder, "device", workers, cache="never", seed=3)
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    # As in Lightning: the new iterator exists before the old one is released.
    batches = iter(loader)
    second = [(batch.names, batch.rgb) for batch in batches]
    assert [names for names, _ in second] == [names for names, _ in usual[1]]
    assert all(torch.equal(rgb, same) for (_, rgb), (_, same) in zip(second, usual[1], strict=True))


def test_images_of_several_folders_are_shipped_encoded(folder):
    parts = [FileImages(folder, ["png"]), FileImages(folder, ["jpeg", "long"])]
    mixed = ConcatImages(parts)
    assert mixed.encoded(2) == (folder / "long").read_bytes()
    dataset = JpegDataset(mixed, SIDE)
    assert list(dataset.collate([dataset[n, 0] for n in range(3)]).jpegs) == [1, 2]


@pytest.mark.parametrize("reason", ["torchvision no longer has it", "nvJPEG is missing"])
def test_device_without_decoder_is_refused(photo_folder, monkeypatch, reason):
    def without_nvjpeg(files, mode, device):
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG\nmore")

    gone = reason.startswith("torchvision")
    monkeypatch.setattr(jpeg, "decode_jpeg", None if gone else without_nvjpeg)
    require_decoder.cache_clear()
    data = data_module(photo_folder, "device", 0, cache="never")
    with pytest.raises(UsageError) as refused:
        data.train_dataloader()
    require_decoder.cache_clear()
    option, accepted = str(refused.value).splitlines()
    assert option == "--data.decode: device"
    assert accepted.startswith("accepted: cpu: torchvision ")
    assert ("it has no decode_jpeg" if gone else "not compiled with nvJPEG") in accepted
