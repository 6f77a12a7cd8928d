import multiprocessing
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import to_lab
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.augmentation import AugmentationOptions
from lightning_colorize.data.cache import CachedImages, bytes_needed
from lightning_colorize.data.dataset import crop_square, resize_short_side
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.module import SINGLE_PROCESS, ColorizationDataModule
from lightning_colorize.data.sources import FolderSource, MixtureFolder, MixtureSource, SourceError
from lightning_colorize.data.sources.listing import read_name_list
from tests.data.conftest import Recorder, names_in, run
from tests.tasks.conftest import make_trainer


def data(folder, **options):
    options = {"size": 24, "batch_size": 4, "num_workers": 0, **options}
    return ColorizationDataModule(str(folder), **options)


def plain(datamodule, split):
    """The split's images as they are, without Trainer or loader: name to (L, ab)."""
    images = datamodule.images(split)
    pairs = {}
    for index in range(len(images)):
        rgb = crop_square(resize_short_side(images.read(index, 24), 24), 24)
        L, ab = to_lab(rgb.unsqueeze(0))
        pairs[images.name(index)] = (L[0], ab[0])
    return pairs


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_augments_and_evaluation_does_not(photo_folder, tmp_path, precision):
    datamodule = data(photo_folder, augmentation=AugmentationOptions(1.0, None))
    recorder = run(datamodule, tmp_path, precision=precision)
    assert [len(batches) for batches in recorder.batches.values()] == [3, 2, 1]
    for split in ("val", "test"):
        expected = plain(datamodule, split)
        batches = recorder.batches[split]
        assert names_in(batches) == list(expected)
        for batch in batches:
            for name, *both in zip(batch.names, batch.L, batch.ab, strict=True):
                torch.testing.assert_close(both, [*expected[name]])  # the dtype too
    for batch in recorder.batches["train"]:
        assert batch.L.shape == (4, 1, 24, 24)
        assert batch.L.dtype == torch.float32
    # Mirrored: left and right are changed, so the plain image is nearer when mirrored back.
    batch = recorder.batches["train"][0]
    upright = {name: plain(datamodule, "train")[name] for name in batch.names}
    for name, *both in zip(batch.names, batch.L, batch.ab, strict=True):
        for augmented, truth in zip(both, upright[name], strict=True):
            assert (augmented.flip(-1) - truth).abs().mean() < (augmented - truth).abs().mean()


@pytest.mark.parametrize(
    "read",
    [
        {"cache": "never"},
        {"cache": "always"},
        {"cache": "device"},
        {"cache": "never", "decode": "device"},
    ],
)
def test_stretching_shows_whole_images_in_every_split(photo_folder, tmp_path, read):
    still = AugmentationOptions(0.0, None)
    datamodule = data(photo_folder, augmentation=still, resize="stretch", **read)
    recorder = run(datamodule, tmp_path)
    assert datamodule.hparams.resize == "stretch"

    def stretched(split, min_side=24):
        files = datamodule.originals(split)
        images = ((files.name(i), files.read(i, min_side)) for i in range(len(files)))
        squares = {name: TF.resize(rgb, [24, 24], antialias=True) for name, rgb in images}
        return {name: to_lab(rgb.unsqueeze(0))[0][0] for name, rgb in squares.items()}

    # The device decodes at full resolution.
    min_side = None if "decode" in read else 24
    loaded = [(recorder.batches[split], stretched(split, min_side)) for split in recorder.batches]
    loaded.append(([*datamodule.color_batches("val")], stretched("val")))
    for batches, expected in loaded:
        assert len(names_in(batches)) == len(expected)
        for batch in batches:
            for name, L in zip(batch.names, batch.L, strict=True):
                torch.testing.assert_close(L, expected[name], atol=1e-3, rtol=0)


def test_plain_trainer(photo_folder, tmp_path):
    datamodule = ColorizationDataModule(str(photo_folder), size=24)
    recorder = Recorder()
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, logger=False)
    trainer.fit(recorder, datamodule)
    predicted = trainer.predict(recorder, datamodule)
    expected = plain(datamodule, "test")
    assert [name for names, _ in predicted for name in names] == list(expected)
    for names, L in predicted:
        for name, own in zip(names, L, strict=True):
            torch.testing.assert_close(own, expected[name][0])


def test_setup_reads_the_splits_of_its_stage(photo_folder):
    datamodule = data(photo_folder)
    datamodule.setup("fit")
    assert datamodule.counts() == {"train": 12, "val": 5, "test": 3}
    assert datamodule.has("test")
    assert sorted(datamodule._images) == ["train", "val"]


@pytest.mark.parametrize("cache", ["always", "never", "device"])
def test_color_batches_have_as_many_images_as_the_limit(photo_folder, cache):
    datamodule = data(photo_folder, cache=cache)
    datamodule.setup("fit")
    whole = names_in(datamodule.color_batches("train"))
    assert whole == sorted(whole)
    assert len(whole) == 12
    for limit, sizes in {0: [], 3: [3], 8: [4, 4], 9: [4, 4, 1], 12: [4] * 3, 99: [4] * 3}.items():
        batches = list(datamodule.color_batches("train", limit))
        assert [len(batch.names) for batch in batches] == sizes
        assert [len(batch.L) for batch in batches] == sizes
        assert len({*names_in(batches)}) == min(limit, 12)
    some = names_in(datamodule.color_batches("train", 8))
    assert sorted(some) != whole[:8]


@pytest.mark.parametrize("limit", [None, 4])
def test_color_batches_of_a_mixture_have_its_weights(tmp_path, limit):
    """Bins, class weights and baselines are counted on them."""
    for folder, count in (("grey", 6), ("red", 2)):
        (tmp_path / folder / "train").mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (30, 30), (90, 90, 90) if folder == "grey" else (200, 0, 0))
            image.save(tmp_path / folder / "train" / f"{number}.png")
    source = MixtureSource(
        [MixtureFolder(Path("grey"), 1, splits=None), MixtureFolder(Path("red"), 3, splits=None)]
    )
    datamodule = data(tmp_path, source=source)
    datamodule.setup()
    batches = list(datamodule.color_batches("train", limit))
    red = [name.startswith("red/") for name in names_in(batches)]
    assert sum(red) / len(red) == pytest.approx(0.75, abs=0.13)
    ab = torch.cat([batch.ab for batch in batches]).abs().amax((1, 2, 3))
    assert (ab > 10).tolist() == red


class Failing(Recorder):
    def validation_step(self, batch, batch_idx):
        raise RuntimeError("out of luck")


def test_workers_end_with_the_run(photo_folder, tmp_path):
    datamodule = data(photo_folder, num_workers=1, cache="never")
    for task in (Recorder(), Failing()):
        trainer = make_trainer(default_root_dir=tmp_path, max_epochs=2)
        with nullcontext() if type(task) is Recorder else pytest.raises(RuntimeError, match="luck"):
            trainer.fit(task, datamodule)
        assert len(task.batches["train"]) == (6 if type(task) is Recorder else 3)
        assert multiprocessing.active_children() == []


def among(processes, folder, tmp_path, trainer=None, **options):
    """A data module of one of several processes."""
    datamodule = data(folder, **options)
    settings = {"world_size": processes, "num_devices": processes, "max_epochs": 1}
    settings |= {"default_root_dir": tmp_path, **(trainer or {})}
    datamodule.trainer = SimpleNamespace(**{**vars(SINGLE_PROCESS), **settings})
    return datamodule


@pytest.mark.parametrize(
    ("cache", "processes", "workers"),
    [("always", 1, 0), ("never", 1, 8), ("never", 4, 5), ("never", 32, 1)],
)
def test_processes_share_the_cores(photo_folder, tmp_path, monkeypatch, cache, processes, workers):
    monkeypatch.setattr("lightning_colorize.data.module.cores", lambda: 20)
    datamodule = among(processes, photo_folder, tmp_path, num_workers=None, cache=cache)
    datamodule._splits = FolderSource().splits(photo_folder)
    loader = datamodule.loader("train")
    assert loader.num_workers == workers


@pytest.mark.parametrize(
    ("kind", "pinned", "ahead"),
    [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)],
)
def test_batches_for_a_gpu_are_sent_ahead(photo_folder, tmp_path, kind, pinned, ahead):
    gpu = {"strategy": SimpleNamespace(root_device=torch.device(kind))}
    datamodule = among(1, photo_folder, tmp_path, gpu, cache="always", pin_memory=pinned)
    datamodule.setup("fit")
    loader = datamodule.loader("train")
    assert (loader._receive is not iter) == ahead
    assert loader.options["pin_memory"] == (pinned and not ahead)  # otherwise the thread pins


@pytest.mark.parametrize(
    ("processes", "cached"), [(1, {"train", "val"}), (2, {"train"}), (3, {"val"})]
)
def test_memory_is_shared_by_processes_and_splits(
    photo_folder, tmp_path, monkeypatch, processes, cached
):
    # In each of two processes there is room for training alone, in each of three for validation.
    room = 4 * 2 * bytes_needed(12, 27)
    monkeypatch.setattr("lightning_colorize.data.cache.machine_memory", lambda: room)
    datamodule = among(processes, photo_folder, tmp_path)
    datamodule.setup("fit")
    images = datamodule._images
    assert {split for split in images if isinstance(images[split], CachedImages)} == cached


def test_a_cache_that_all_processes_together_cannot_hold_is_refused(
    photo_folder, tmp_path, monkeypatch
):
    # In each of two processes there is room for training and validation, in each of three not.
    room = 2.5 * (bytes_needed(12, 27) + bytes_needed(5, 24))
    monkeypatch.setattr("lightning_colorize.data.cache.machine_memory", lambda: room)
    among(2, photo_folder, tmp_path, cache="always").setup("fit")
    each = room / 2.5 / 2**30
    numbers = f"{each:.3g} GiB .* {3 * each:.3g} GiB .* {room / 2**30:.3g} GiB"
    with pytest.raises(UsageError, match=numbers):
        among(3, photo_folder, tmp_path, cache="always").setup("fit")


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_fewer_images_than_processes_is_refused(photo_folder, tmp_path, stage):
    among(3, photo_folder, tmp_path).setup(stage)
    with pytest.raises(SourceError, match=r"^3 test images for 4 processes.*--trainer.devices 3"):
        among(4, photo_folder, tmp_path).setup(stage)


def test_only_rank_zero_reports_corrupt_images(tmp_path, capsys):
    folder = with_broken(tmp_path, broken=[2])
    among(2, folder, tmp_path, trainer={"global_rank": 1}).setup("fit")
    assert not (tmp_path / "broken.txt").exists()
    assert capsys.readouterr().err == ""
    among(2, folder, tmp_path).setup("fit")
    assert read_name_list(tmp_path / "broken.txt") == {"val/2.png"}


@pytest.mark.parametrize(
    ("limits", "cached"),
    [
        ({"limit_train_batches": 2, "limit_val_batches": 1}, False),
        ({"limit_train_batches": 3, "limit_val_batches": 2}, True),
        ({"limit_train_batches": 0.1, "limit_val_batches": 1}, False),
        ({"limit_train_batches": 0.5, "limit_val_batches": 0.5, "max_epochs": 2}, True),
        ({"limit_train_batches": 1, "limit_val_batches": 3, "max_epochs": -1}, True),
    ],
)
def test_few_reads_are_not_cached(photo_folder, tmp_path, limits, cached):
    datamodule = among(1, photo_folder, tmp_path, trainer=limits)
    datamodule.setup("fit")
    for split in ("train", "val"):
        assert isinstance(datamodule.images(split), CachedImages) == cached


def test_fast_dev_run_reads_only_its_batches(photo_folder, tmp_path, monkeypatch):
    read = []
    image = FileImages.read

    def counted(self, index, min_side=None):
        read.append(self.name(index))
        return image(self, index, min_side)

    monkeypatch.setattr(FileImages, "read", counted)
    datamodule = data(photo_folder, batch_size=2)
    run(datamodule, tmp_path / "run", fast_dev_run=True)
    assert len(read) == 6  # a batch of each split
    assert sum(len(batch) for batch in datamodule.color_batches("train", 8)) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value", "accepted", "limit"),
    [
        ("size", 0, "at least 1", 1),
        ("batch_size", -1, "at least 1", 1),
        ("num_workers", -1, "at least 0", 0),
        ("max_broken_share", 2, "from 0 to 1", 0),
    ],
)
def test_invalid_options_are_refused(key, value, accepted, limit):
    with pytest.raises(UsageError, match=f"^--data.{key} is .*: it must be .*{accepted}"):
        ColorizationDataModule(**{key: value})
    ColorizationDataModule(**{key: limit})


def test_default_seed_is_that_of_seed_everything(photo_folder, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "11")
    assert data(photo_folder).seed == 11
    assert data(photo_folder, seed=3).seed == 3


def with_broken(tmp_path, broken):
    for split in ("train", "val"):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(8):
            path = tmp_path / "photos" / split / f"{number}.png"
            Image.new("RGB", (30, 30), (9 * number, 60, 90)).save(path)
            if split == "val" and number in broken:
                path.write_bytes(path.read_bytes()[:40])
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "options", [{"cache": "always"}, {"cache": "never"}, {"cache": "never", "num_workers": 2}]
)
def test_corrupt_validation_batches_are_left_out(tmp_path, options):
    folder = with_broken(tmp_path, broken=[0, 1, 2, 3, 6])
    datamodule = data(folder, max_broken_share=1.0, **options)
    recorder = Recorder()
    trainer = make_trainer(default_root_dir=tmp_path / "run")
    trainer.validate(recorder, datamodule, verbose=False)
    assert names_in(recorder.batches["val"]) == ["val/4.png", "val/5.png", "val/7.png"]
    listed = read_name_list(tmp_path / "run" / "broken.txt")
    assert listed == {f"val/{n}.png" for n in (0, 1, 2, 3, 6)}


def test_corrupt_images_of_all_splits_are_counted(tmp_path):
    folder = with_broken(tmp_path, broken=[2])
    (folder / "train" / "5.png").write_bytes(b"")
    with pytest.raises(UsageError, match="2 or more of 16 images cannot be read"):
        data(folder).setup("fit")


def test_a_split_without_a_readable_image_is_refused(tmp_path):
    folder = with_broken(tmp_path, broken=range(8))
    with pytest.raises(SourceError, match=r"none of 8 images for val .*first: .*0\.png"):
        data(folder, max_broken_share=1.0).setup("fit")


def test_overfitting_gives_the_same_images_in_every_epoch(photo_folder, tmp_path):
    recorder = run(data(photo_folder), tmp_path, overfit_batches=2, max_epochs=2)
    names = [batch.names for batch in recorder.batches["train"]]
    assert len(names) == 4
    assert names[:2] == names[2:]


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_missing_split_of_a_stage_is_refused(photo_folder, stage):
    with pytest.raises(SourceError, match="only train"):
        data(photo_folder / "train", source=FolderSource(splits={"train": 1})).setup(stage)
