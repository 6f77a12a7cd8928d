"""Runs on folders with broken images."""

import shutil

from lightning_colorize.data.sources.listing import read_name_list


def test_a_run_lists_the_images_that_it_skips(command, tmp_path, capsys):
    photos = shutil.copytree(command.photos, tmp_path / "photos")
    (photos / "train" / "000.png").write_bytes(b"no image")
    run = command.fit("listed", "--data.root", photos, "--trainer.max_epochs", 1)
    assert read_name_list(run / "broken.txt") == {"train/000.png"}
    assert f"Skipping 1 broken image, listed in {run / 'broken.txt'}" in capsys.readouterr().err
