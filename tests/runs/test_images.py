import numpy as np

from lightning_colorize.runs.images import BestImage, read_best_images, write_best_images

_IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def test_best_images_replace_earlier_ones(tmp_path):
    assert read_best_images(tmp_path) == []
    names = ["ä/1.jpg", "x" * 300 + "/2.jpg", "ä_1.jpg"]
    for value in (9.0, 8.0):
        image = _IMAGE + np.uint8(value)
        write_best_images(tmp_path, [BestImage(name, image, value) for name in names])
    found = read_best_images(tmp_path)
    assert [image.name for image in found] == names
    for image in found:
        assert np.array_equal(image.row, _IMAGE + np.uint8(8))
        assert image.ciede2000 == 8.0
    assert len(list((tmp_path / "images" / "best").iterdir())) == 3
    # A resumed run may show fewer images.
    write_best_images(tmp_path, found[:1])
    assert [image.name for image in read_best_images(tmp_path)] == names[:1]
