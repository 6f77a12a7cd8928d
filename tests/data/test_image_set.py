import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_colorize.data.image_set import ChosenImages, ConcatImages, ImageSet, NameList, Notes


class ConstantImages(ImageSet):
    def __init__(self, label, count):
        self.names = [f"{label}/{index}" for index in range(count)]

    def read(self, index, min_side=None):
        return torch.full((3, 2, min_side or 2), index, dtype=torch.uint8)


@given(st.lists(st.text()))
def test_name_list_equals_a_list(names):
    held = NameList(iter(names))
    assert list(held) == names
    assert [held[-i - 1] for i in range(len(names))] == names[::-1]
    assert list(pickle.loads(pickle.dumps(held))) == names


def test_name_list_keeps_undecodable_bytes_and_ends_and_is_small():
    names = [b"caf\xe9.jpg".decode("utf-8", "surrogateescape")]
    names += [f"n{i:08d}.JPEG" for i in range(10_000)]
    held = NameList(names)
    assert [held[0], *held] == [names[0], *names]
    with pytest.raises(IndexError):
        held[10_001]
    assert len(pickle.dumps(held)) < 10_000 * (14 + 8) + 1000


def test_chosen_images_keep_their_names_and_notes():
    whole = ConcatImages([ConstantImages("a", 2), ConstantImages("b", 3)])
    whole.notes = Notes(NameList("vwxyz"))
    images = ChosenImages(whole, [1, 4])
    assert [images.name(i) for i in range(len(images))] == ["a/1", "b/2"]
    assert [int(images.read(i, min_side=9).max()) for i in range(2)] == [1, 2]
    assert list(images.notes.labels) == ["w", "z"]
    assert images.encoded(0) is None
