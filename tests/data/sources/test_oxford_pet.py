import socket

import pytest

from lightning_colorize.data.sources import OxfordPetSource, SourceError, oxford_pet
from tests.data.sources.conftest import counts, names_of, touch


def make_images(folder, **breeds):
    names = (f"{breed}_{i}.jpg" for breed, count in breeds.items() for i in range(1, count + 1))
    return touch(folder, "Abyssinian_100.mat", *names)


@pytest.fixture(scope="module")
def torchvision_splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("pets")
    make_images(root / "oxford-iiit-pet" / "images", basset_hound=200, beagle=200)
    return names_of(OxfordPetSource().splits(root))


@pytest.mark.parametrize(
    "layout",
    [
        "oxford-iiit-pet/images",
        "images",
        "images/images",  # Kaggle's copy
        "the-oxfordiiit-pet-dataset/images/images",
        "the-oxfordiiit-pet-dataset/versions/images",
        ".",
    ],
)
def test_basset_hounds_of_every_layout_are_split_alike(tmp_path, layout, torchvision_splits):
    # Below a folder "images" that holds other files.
    root = touch(tmp_path / "root", "images/readme_1.txt", "annotations/annotations/list.txt")
    touch(root, "annotations/annotations/trimaps/basset_hound_1.png")
    make_images(root / layout, basset_hound=200, beagle=200)
    source = OxfordPetSource()
    source.prepare(root)
    splits = source.splits(root)
    assert counts(splits) == {"train": 134, "val": 36, "test": 30}
    names = names_of(splits)
    assert names == torchvision_splits
    assert {n for part in names.values() for n in part} == {
        f"basset_hound_{i}.jpg" for i in range(1, 201)
    }


def test_other_breeds_and_all(tmp_path):
    make_images(tmp_path / "images", american_bulldog=50, bulldog=20, Abyssinian=30)
    for breed, count in (("bulldog", 20), ("American Bulldog", 50), (None, 100)):
        assert sum(counts(OxfordPetSource(breed).splits(tmp_path)).values()) == count
    chosen = OxfordPetSource("Abyssinian", splits={"train": 20, "val": 5}).splits(tmp_path)
    assert counts(chosen) == {"train": 20, "val": 5}
    with pytest.raises(SourceError, match=r"bulldog: splits: 30 images .* 20 found"):
        OxfordPetSource("bulldog", splits={"train": 30}).splits(tmp_path)
    with pytest.raises(SourceError, match="'poodle'; it has Abyssinian, american_bulldog, bulldog"):
        OxfordPetSource("poodle").splits(tmp_path)


def test_exclude_list_keeps_the_splits_of_the_others(tmp_path):
    images = make_images(tmp_path / "images", basset_hound=200, beagle=5)
    whole = names_of(OxfordPetSource().splits(tmp_path))
    gone = {whole["train"][3], whole["test"][0]}
    listed = tmp_path / "out.txt"
    listed.write_text("".join(f"# tiny\n{name}\n" for name in [*gone, "beagle_1.jpg"]))
    left = names_of(OxfordPetSource(exclude_list=listed).splits(tmp_path))
    assert left == {s: [n for n in part if n not in gone] for s, part in whole.items()}
    # The list may be of the whole data set and name no image of this breed.
    listed.write_text("beagle_1.jpg\n")
    assert names_of(OxfordPetSource(exclude_list=listed).splits(tmp_path)) == whole
    listed.write_text("".join(f"{path.name}\n" for path in images.glob("beagle*")))
    with pytest.raises(SourceError, match="exclude_list leaves no image of breed 'beagle'"):
        OxfordPetSource("beagle", exclude_list=listed).splits(tmp_path)


def test_missing_data_set_names_the_download(tmp_path):
    message = f"put images.tar.gz from {oxford_pet.PAGE} into {tmp_path / 'oxford-iiit-pet'}"
    source = OxfordPetSource(download=False)
    source.prepare(tmp_path)
    with pytest.raises(SourceError, match=message):
        source.splits(tmp_path)


def test_a_failed_download_leaves_no_partial_set(tmp_path, monkeypatch):
    errors = [RuntimeError("File not found\nor corrupted.")]

    def download(root, download):
        assert download
        assert socket.getdefaulttimeout() == 10
        make_images(root / "oxford-iiit-pet" / "images", beagle=10)
        if errors:
            raise errors.pop()

    monkeypatch.setattr(oxford_pet, "OxfordIIITPet", download)
    source, root = (
        OxfordPetSource("beagle", splits={"train": 6, "val": 4}),
        tmp_path / "new" / "root",
    )
    message = r"downloading .* failed \(File not found or corrupted\.\): try again, or put images"
    with pytest.raises(SourceError, match=message):
        source.prepare(root)
    assert not (root / "oxford-iiit-pet" / "images").exists()
    source.prepare(root)
    assert counts(source.splits(root)) == {"train": 6, "val": 4}
    assert socket.getdefaulttimeout() is None
