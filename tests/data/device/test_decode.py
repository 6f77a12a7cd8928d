"""JPEGs decoded on the training device; here on the CPU, by the same code."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import ImageDataset, Shipped
from lightning_colorize.data.device import decode
from lightning_colorize.data.device.decode import DeviceDecoder, JpegDataset, require_decoder
from lightning_colorize.data.image_set import ConcatImages, FileImages
from tests.conftest import until
from tests.data import images
from tests.data.conftest import assert_same, data_module

CPU = torch.device("cpu")
# Of images at least twice as large, the workers decode a half.
SIDE = 32

# Their bytes are shipped, in this order; all others are decoded by the workers.
PLAIN = ["jpeg", "progressive_jpeg", "subsampled_jpeg", "grey_jpeg", "thin_jpeg", "long"]
ODD = ["png", "adobe_cmyk_jpeg", "swapped_profile_jpeg", "rgba_png"]
BROKEN = ["text", "cut", "corrupt", "more_corrupt"]


@pytest.fixture
def folder(tmp_path):
    """An image of every kind, plain and odd by turns, and broken ones."""
    for name in ("thin_jpeg", *PLAIN[:4], *ODD, "text"):
        images.write(name, tmp_path / name)
    images.write_oriented(tmp_path / "turned", 6)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 170, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((340, 60)).save(tmp_path / "long", "JPEG")
    (tmp_path / "cut").write_bytes((tmp_path / "jpeg").read_bytes()[:-20])
    for name in ("corrupt", "more_corrupt"):  # a valid header and an invalid Huffman table
        content = bytearray((tmp_path / "jpeg").read_bytes())
        table = content.index(b"\xff\xc4") + 5
        content[table : table + 16] = b"\xff" * 16
        (tmp_path / name).write_bytes(content)
    return tmp_path


def both(folder, names, draws=None, **options):
    """What workers decode, the batch shipped for the device, and what the device makes of it."""
    files = FileImages(folder, names)
    keys = list(enumerate(draws or [0] * len(names)))
    usual, shipping = (kind(files, SIDE, **options) for kind in (ImageDataset, JpegDataset))
    shipped = shipping.collate([shipping[key] for key in keys])
    return usual.collate([usual[key] for key in keys]), shipped, DeviceDecoder(CPU, usual)(shipped)


KINDS = ["turned", "jpeg", "png", "text", "long", "adobe_cmyk_jpeg", "grey_jpeg", "cut"]
KINDS += [*PLAIN[1:3], "thin_jpeg", "swapped_profile_jpeg", "rgba_png"]
TRAINING = {"training": True}


@pytest.mark.parametrize(
    ("names", "options", "shown"),
    [
        (KINDS, TRAINING, [0, 1, 2, 9, 4, 5, 6, 0, 8, 9, 10, 11, 12]),
        (["png"], {}, [0]),
        (["jpeg"], {}, [0]),
        (["text", "cut"], {}, []),
        (["long", "corrupt", "jpeg"], {}, [0, 2]),
        (["corrupt", "long", "more_corrupt", "text", "jpeg"], TRAINING, [4, 1, 4, 4, 4]),
    ],
    ids=["all kinds", "no file", "no pixels", "nothing", "left out", "replaced"],
)
def test_decoded_squares_equal_those_of_workers(folder, names, options, shown):
    draws = np.random.default_rng(1).integers(0, 2**32, len(names)).tolist()
    expected, _, decoded = both(folder, names, draws, **options)
    assert decoded.indices == expected.indices == shown
    assert torch.equal(decoded.rgb, expected.rgb)
    broken = [{(b.name, b.error.reason) for b in batch.corrupt} for batch in (decoded, expected)]
    assert broken[0] == broken[1]
    assert {name for name, _ in broken[0]} == {n for n in names if n in BROKEN}


def test_only_plain_jpegs_are_shipped_encoded(folder):
    names = sorted([*PLAIN, *ODD, "turned", "cut", "text"])
    _, shipped, _ = both(folder, names)
    assert {names[shipped.indices[row]] for row in shipped.jpegs} == set(PLAIN)
    sizes = [(folder / name).stat().st_size for name in names if name in PLAIN]
    assert [jpeg.length for jpeg in shipped.jpegs.values()] == sizes
    assert shipped.rgb.shape == (len(ODD) + 1, 3, SIDE, SIDE)
    assert [b.name for b in shipped.corrupt] == ["cut", "text"]
    mixed = ConcatImages([FileImages(folder, ["png"]), FileImages(folder, ["jpeg", "long"])])
    dataset = JpegDataset(mixed, SIDE)
    assert list(dataset.collate([dataset[n, 0] for n in range(3)]).jpegs) == [1, 2]


def test_fallback_to_cpu_decoding(folder, monkeypatch):
    """Nvjpeg decodes no image of a batch if one fails; it does not support the first of these."""
    names = ["progressive_jpeg", "jpeg", "png"]
    unknown = torch.from_numpy(np.fromfile(folder / names[0], dtype=np.uint8))

    original = decode._decode

    def nvjpeg(files, device):
        if any(torch.equal(file, unknown) for file in files):
            raise RuntimeError("nvjpegDecodeBatched failed")
        return original(files, device)

    monkeypatch.setattr(decode, "_decode", nvjpeg)
    expected, _, decoded = both(folder, names)
    assert decoded.corrupt == []
    # Pillow decodes the first; it differs from torchvision by rounding only.
    assert (decoded.rgb.int() - expected.rgb.int()).abs().max() <= 1
    assert torch.equal(decoded.rgb[1:], expected.rgb[1:])


def test_pixels_decoded_at_once_are_limited(folder, monkeypatch):
    at_once = []
    original = decode._decode

    def counted(files, device):
        decoded = original(files, device)
        at_once.append([image[0].numel() for image in decoded])
        return decoded

    monkeypatch.setattr(decode, "_decode", counted)
    monkeypatch.setattr(decode, "_AT_ONCE", 2 * 48 * 64)
    names = ["jpeg", "long", "grey_jpeg", "subsampled_jpeg", "thin_jpeg"]
    expected, _, decoded = both(folder, names)
    assert torch.equal(decoded.rgb, expected.rgb)
    assert [len(sizes) for sizes in at_once] == [1, 1, 2, 1]
    assert [sizes[0] for sizes in at_once][:2] == [48 * 64, 60 * 340]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_the_decoder(photo_folder, workers):
    usual = data_module(photo_folder, batch_size=3)
    ours = data_module(photo_folder, batch_size=3, decode="device", num_workers=workers)
    expected, loader = usual.train_dataloader(), ours.train_dataloader()
    assert isinstance(loader.dataset, JpegDataset)
    for _ in range(2):
        assert_same(loader, expected)
    assert_same(ours.loader("val"), usual.loader("val"))
    # An abandoned epoch does not leak into the next.
    batches = iter(loader)
    next(batches)
    list(expected)
    # As in Lightning: the new iterator exists before the old one is released.
    batches = iter(loader)
    assert_same(batches, expected)


def test_exactly_one_batch_is_prefetched():
    begun = []

    class Recording(DeviceDecoder):
        def __call__(self, batch):
            begun.append(batch)
            if batch == 2:
                raise RuntimeError("broken")
            return Shipped(torch.empty(0), [batch], [])

    decoded = Recording(CPU, None).batches(iter(range(4)))
    assert next(decoded).indices == [0]
    until(lambda: len(begun) == 2)
    time.sleep(0.02)
    assert begun == [0, 1]
    assert next(decoded).indices == [1]
    with pytest.raises(RuntimeError, match="broken"):
        next(decoded)


def test_position_counts_delivered_not_prefetched_batches(photo_folder):
    options = {"batch_size": 3, "decode": "device"}
    modules = [data_module(photo_folder, **options) for _ in range(3)]
    whole, stopped, resumed = (data.train_dataloader() for data in modules)
    batches = iter(stopped)
    first = [next(batches) for _ in range(2)]
    state = stopped.state_dict()
    assert state["position"] == 2
    batches.close()
    resumed.load_state_dict(state)
    assert_same([*first, *resumed], whole)


def test_device_without_decoder_is_refused(photo_folder, monkeypatch):
    def without_nvjpeg(files, device):
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG\nmore")

    monkeypatch.setattr(decode, "_decode", without_nvjpeg)
    require_decoder.cache_clear()
    message = r"^--data.decode: device\naccepted: cpu: torchvision .*nvJPEG.*$"
    with pytest.raises(UsageError, match=message):
        data_module(photo_folder, decode="device").train_dataloader()
    require_decoder.cache_clear()
