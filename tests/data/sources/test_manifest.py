import numpy as np
import pytest
from PIL import Image

from lightning_colorize.data.sources import ManifestSource, SourceError
from tests.data.sources.conftest import names_of, touch


def manifest(folder, text):
    (folder / "list.csv").write_bytes(text.encode())
    return folder / "list.csv"


def test_manifest(tmp_path):
    pixels = np.full((2, 3, 3), 77, dtype=np.uint8)
    touch(tmp_path, "a/1.jpg", "2.jpg", "3, with comma.jpg")
    Image.fromarray(pixels).save(tmp_path / "4.png")
    path = manifest(
        tmp_path,
        "\ufeffPath, split,weight\r\na/1.jpg,train,2\r\n2.jpg,train,\r\n\r\n"
        f'"3, with comma.jpg",validation,5\r\n{tmp_path / "4.png"},Test,1\r\n',
    )
    splits = ManifestSource().splits(path)
    assert names_of(splits) == {
        "train": ["a/1.jpg", "2.jpg"],
        "val": ["3, with comma.jpg"],
        "test": [str(tmp_path / "4.png")],
    }
    assert splits["train"].weights.tolist() == [2, 1]
    assert splits["val"].weights is None
    assert splits["test"].read(0).tolist() == pixels.transpose(2, 0, 1).tolist()


def test_labels_and_texts(tmp_path, capsys):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    rows = ['1.jpg,train,"a, dog",2, pug', "2.jpg,train", "3.jpg,val,é,,"]
    path = manifest(tmp_path, "\n".join(["path,split,Caption,weight,breed", *rows]))
    splits = ManifestSource(label="Breed", text="caption ").splits(path)
    assert [[*own] for own in splits["train"].notes] == [["pug", ""], ["a, dog", ""]]
    assert [[*own] for own in splits["val"].notes] == [[""], ["é"]]
    assert splits["train"].weights.tolist() == [2, 1]
    assert capsys.readouterr().err == ""
    for options in ({"label": "caption", "text": "caption"}, {"text": "caption"}):
        label, text = ManifestSource(**options).splits(path)["train"].notes
        assert [*text] == ["a, dog", ""]
        assert label is None or [*label] == [*text]
        assert capsys.readouterr().err == f"{path}: ignored columns: breed\n"


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ({}, "", r"list\.csv is empty: its first line must be path,split\[,weight\]$"),
        ({}, "path,split\n", "a header and no images"),
        ({}, "file,split\n1.jpg,train\n", r"line 1: the header must be .*, not 'file,split'"),
        ({"label": "breed"}, "path,split,race\n", r"must be path,split,breed\[,weight\], not"),
        ({"label": "a", "text": "b"}, "path,split,b\n", r"be path,split,a,b\[,.*'path,split,b'"),
        ({"text": "b"}, "path,split,b,b\n", "not 'path,split,b,b'"),
        ({"text": "b"}, "path,split,b\n1.jpg,train,\0\n", "line 2: a cell contains a NUL"),
        ({}, "path,split\n1.jpg,train\n2.jpg,dev\n", r"line 3: the split 'dev' is none of train,"),
        ({}, "path,split\n\n1.jpg\n", r"line 3: the split '' is none"),
        ({}, "path,split\n1.jpg,train,1\n", r"line 2: more cells than in the header"),
        ({}, "path,split,weight\n1.jpg,train,much\n", r"line 2: the weight 'much'"),
        ({}, "path,split,weight\n1.jpg,train,nan\n", r"line 2: the weight 'nan'"),
        ({}, "path,split,weight\n1.jpg,train,0\n", r"weights of all training images sum to 0"),
        ({}, "path,split,weight\n1.jpg,train,1e308\n2.jpg,train,1e308\n", r"sum to inf"),
        ({}, "path,split\n1.jpg,train\n\n./1.jpg,val\n", r"line 4: \./1\.jpg is in line 2"),
        ({}, "path,split\n1.jpg,train\n9.jpg,train\n8.jpg,val\n", r"line 3: .*9\.jpg \(and 1 more"),
    ],
)
def test_invalid_manifest_is_reported_with_its_line(tmp_path, options, text, message):
    touch(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(SourceError, match=message) as caught:
        ManifestSource(**options).splits(manifest(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_exclude_list_may_name_missing_files(tmp_path):
    touch(tmp_path, "1.jpg", "b/3.jpg")
    path = manifest(tmp_path, "path,split,weight\n1.jpg,train,2\n2.jpg,train,1\n./b/3.jpg,val,\n")
    listed = tmp_path / "out.txt"
    listed.write_text("# truncated\n2.jpg\n")
    splits = ManifestSource(listed).splits(path)
    assert names_of(splits) == {"train": ["1.jpg"], "val": ["./b/3.jpg"]}
    assert splits["train"].weights.tolist() == [2]
    listed.write_text("2.jpg\n./b/3.jpg\n")
    assert names_of(ManifestSource(listed).splits(path)) == {"train": ["1.jpg"]}
    path = manifest(tmp_path, "path,split\n1.jpg,train\n")
    assert ManifestSource().splits(path)["train"].weights is None
