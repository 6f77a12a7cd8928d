import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer

from lightning_colorize.color import ColorBatch, to_lab
from lightning_colorize.data.dataset import crop_square, resize_short_side
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources import FolderSource, SourceError
from lightning_colorize.errors import UsageError


def data(folder, **options):
    options = {"size": 24, "batch_size": 4, "num_workers": 0, **options}
    return ColorizationDataModule(str(folder), **options)


class Recorder(LightningModule):
    """Keeps the batches that it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches = {"train": [], "val": [], "test": []}

    def training_step(self, batch, batch_idx):
        self.batches["train"].append(batch)
        return self.weight * batch.L.mean()

    def validation_step(self, batch, batch_idx):
        self.batches["val"].append(batch)

    def test_step(self, batch, batch_idx):
        self.batches["test"].append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(datamodule, tmp_path, **options):
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        **{"max_epochs": 1, **options},
    )
    trainer.fit(recorder, datamodule)
    trainer.test(recorder, datamodule, verbose=False)
    return recorder


def plain(datamodule, split):
    """The split's pictures as they are, without Trainer or loader: name to (L, ab)."""
    pictures = datamodule.pictures(split)
    found = {}
    for index in range(len(pictures)):
        rgb = crop_square(resize_short_side(pictures.read(index, 24), 24), 24)
        L, ab = to_lab(rgb.unsqueeze(0))
        found[pictures.name(index)] = (L[0], ab[0])
    return found


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_augments_and_evaluation_does_not(photo_folder, tmp_path, precision):
    datamodule = data(photo_folder, flip=1.0, crop_scale=None)
    recorder = run(datamodule, tmp_path, precision=precision)
    assert [len(batches) for batches in recorder.batches.values()] == [3, 2, 1]
    for split in ("val", "test"):
        expected = plain(datamodule, split)
        batches = recorder.batches[split]
        assert [n for batch in batches for n in batch.names] == list(expected)
        for batch in batches:
            assert batch.L.dtype == batch.ab.dtype == torch.float32
            for name, L, ab in zip(batch.names, batch.L, batch.ab, strict=True):
                torch.testing.assert_close(L, expected[name][0])
                torch.testing.assert_close(ab, expected[name][1])
    for batch in recorder.batches["train"]:
        assert isinstance(batch, ColorBatch)
        assert batch.L.shape == (4, 1, 24, 24)
        assert batch.L.dtype == torch.float32
    # Mirrored: left and right are changed, so the plain picture is nearer when mirrored back.
    batch = recorder.batches["train"][0]
    upright = {name: plain(datamodule, "train")[name] for name in batch.names}
    for name, ab in zip(batch.names, batch.ab, strict=True):
        truth = upright[name][1]
        assert (ab.flip(-1) - truth).abs().mean() < (ab - truth).abs().mean()


def test_the_same_call_serves_without_a_trainer(photo_folder):
    datamodule = data(photo_folder)
    datamodule.setup("validate")
    raw = next(iter(datamodule.val_dataloader()))
    batch = datamodule.on_after_batch_transfer(raw, 0)
    expected = plain(datamodule, "val")
    torch.testing.assert_close(batch.L[0], expected[batch.names[0]][0])
    assert raw.rgb.dtype == torch.uint8


def test_batches_without_a_trainer_are_the_whole_split_or_a_sample(photo_folder):
    datamodule = data(photo_folder)
    datamodule.setup("fit")
    names = [name for batch in datamodule.color_batches("train") for name in batch.names]
    assert names == sorted(names)
    assert len(names) == 12
    some = [batch.names for batch in datamodule.color_batches("train", limit=8)]
    assert [len(batch) for batch in some] == [4, 4]
    assert len({name for batch in some for name in batch}) == 8
    assert some != [names[:4], names[4:8]]


@pytest.mark.parametrize("cache", ["always", "never", "auto"])
def test_the_cache_changes_no_validation_pixel(photo_folder, cache):
    datamodule = data(photo_folder, cache=cache)
    datamodule.setup("validate")
    expected = plain(data_never(photo_folder), "val")
    for batch in datamodule.color_batches("val"):
        for name, L in zip(batch.names, batch.L, strict=True):
            torch.testing.assert_close(L, expected[name][0])


def data_never(folder):
    datamodule = data(folder, cache="never")
    datamodule.setup("fit")
    return datamodule


def test_only_the_splits_of_the_stage_are_read(photo_folder, tmp_path):
    datamodule = data(photo_folder)
    datamodule.setup("fit")
    assert datamodule.counts() == {"train": 12, "val": 5, "test": 3}
    assert datamodule.has("test")
    assert sorted(datamodule._pictures) == ["train", "val"]


def test_a_split_that_is_missing_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(12):
        Image.new("RGB", (8, 8)).save(tmp_path / "train" / f"{number}.png")
    datamodule = data(tmp_path)
    datamodule.setup("fit")
    with pytest.raises(SourceError, match="the data has no test pictures, only train"):
        datamodule.test_dataloader()


def test_workers_are_none_for_memory_and_some_for_files(photo_folder, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 32)
    cached = data(photo_folder, num_workers=None)
    cached.setup("fit")
    assert cached.train_dataloader().num_workers == 0
    files = data(photo_folder, num_workers=None, cache="never")
    files.setup("fit")
    loader = files.train_dataloader()
    assert loader.num_workers == 8
    assert loader.persistent_workers


def test_without_a_seed_it_is_that_of_seed_everything(photo_folder, monkeypatch):
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


@pytest.mark.parametrize("cache", ["always", "never"])
def test_broken_validation_pictures_are_left_out_even_whole_batches(tmp_path, cache):
    folder = with_broken(tmp_path, broken=[0, 1, 2, 3, 6])
    datamodule = data(folder, cache=cache, max_broken_share=1.0)
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path / "run",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(recorder, datamodule, verbose=False)
    names = [name for batch in recorder.batches["val"] for name in batch.names]
    assert names == ["val/4.png", "val/5.png", "val/7.png"]
    listed = (tmp_path / "run" / "broken.txt").read_text().splitlines()
    assert sorted(line.split("\t")[0][-5:] for line in listed) == [
        f"{n}.png" for n in (0, 1, 2, 3, 6)
    ]


def test_a_large_share_of_broken_pictures_stops_before_training(tmp_path):
    datamodule = data(with_broken(tmp_path, broken=[2]), cache="always")
    with pytest.raises(UsageError, match="1 of 8 val pictures cannot be read"):
        run(datamodule, tmp_path)


def test_the_position_travels_with_a_checkpoint(photo_folder):
    datamodule = data(photo_folder)
    assert datamodule.state_dict() == {}
    datamodule.setup("fit")
    loader = datamodule.train_dataloader()
    first = [batch.names for batch in loader]
    iterator = iter(loader)
    second = [next(iterator).names]
    assert datamodule.state_dict() == {"epoch": 1, "position": 1}
    resumed = data(photo_folder)
    resumed.setup("fit")
    resumed.load_state_dict(datamodule.state_dict())
    rest = [batch.names for batch in resumed.train_dataloader()]
    assert sorted(n for batch in second + rest for n in batch) == sorted(joined(first))
    assert second + rest != first


def joined(batches):
    return [name for batch in batches for name in batch]


def test_overfitting_gives_the_same_pictures_in_every_epoch(photo_folder, tmp_path):
    recorder = run(data(photo_folder), tmp_path, overfit_batches=2, max_epochs=2)
    names = [batch.names for batch in recorder.batches["train"]]
    assert len(names) == 4
    assert names[:2] == names[2:]


def test_a_source_of_ones_own_is_used(photo_folder):
    datamodule = data(photo_folder, source=FolderSource(include=["train/*", "val/020*"]))
    datamodule.setup("fit")
    assert datamodule.counts() == {"train": 12, "val": 1}


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_a_split_that_a_stage_needs_is_missed_before_it_begins(photo_folder, stage):
    source = FolderSource()
    source.split_names_of = lambda folder: {"train": ["train/000.png"]}
    with pytest.raises(SourceError, match="only train"):
        data(photo_folder, source=source).setup(stage)
