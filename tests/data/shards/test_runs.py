"""Training over shards by the command."""

import pytest

from tests.conftest import write_images
from tests.data.shards.conftest import pack_folder
from tests.training.test_resume import check_all


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """24 images for training in eight shards, four for validation, two for the test."""
    folder = tmp_path_factory.mktemp("many")
    for split, count, first in (("train", 24, 0), ("val", 4, 30), ("test", 2, 40)):
        write_images(folder / "photos" / split, count, first)
    pack_folder(folder / "photos", folder / "shards", size=36)
    return folder / "shards"


def options(shards, *more):
    saves = ("--run.save_every_n_minutes", 1e-9)
    return ["--data.root", shards, "--data.cache", "never", *saves, *more]


def test_resume_over_shards_is_bit_exact(command, stop_in, shards):
    # In mid-epoch: the second of six batches.
    check_all(command, stop_in, options(shards), batches=[8])


def test_data_size_above_the_packed_size_is_refused(command, shards, capsys):
    words = command.words("large", *options(shards, "--data.size", 40))
    assert command("fit", *words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "a size of 40 is more than the 36 pixels that the images are packed at" in last
    assert "with --size 45" in last


def test_evaluate_reads_shards(command, shards, finished_run, tmp_path, capsys):
    for words, images in (([], "2 test images of"), (["--split", "val"], "4 val images of")):
        assert command("evaluate", finished_run, "--data", shards, *words) == 0
        assert images in capsys.readouterr().out
