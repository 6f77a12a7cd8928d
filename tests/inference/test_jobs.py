from pathlib import Path

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import Job, JobPlan, plan_jobs, require_other_files


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def _targets(folder, output, form="same"):
    jobs, manifest, _ = plan_jobs([folder], output, form)
    assert manifest == output
    return {
        str(job.source.relative_to(folder)): str(job.target.relative_to(output)) for job in jobs
    }


def test_a_folder_keeps_its_structure(tmp_path):
    folder = _touch(tmp_path / "in", "a.jpg", "x/y/b.PNG", "x/c.gif", "x/notes.txt", "d.v2.webp")
    assert _targets(folder, tmp_path / "out") == {
        "a.jpg": "a.jpg",
        "x/y/b.PNG": "x/y/b.PNG",
        "x/c.gif": "x/c.png",
        "d.v2.webp": "d.v2.webp",
    }
    assert _targets(folder, tmp_path / "out", "jpg")["x/c.gif"] == "x/c.jpg"
    assert _targets(folder, tmp_path / "out", "png")["d.v2.webp"] == "d.v2.png"


def test_output_names_are_unique(tmp_path):
    folder = _touch(tmp_path / "in", "a.jpg", "a.tif", "a.png", "x/a.jpg", "b.jpg", "a.jpg.png")
    targets = _targets(folder, tmp_path / "out", "png")
    assert targets == {
        "a.jpg": "a.jpg.png.png",
        "a.jpg.png": "a.jpg.png",
        "a.tif": "a.tif.png",
        "a.png": "a.png.png",
        "x/a.jpg": "x/a.png",
        "b.jpg": "b.png",
    }


@pytest.mark.usefixtures("permissions")
def test_only_folders_that_cannot_be_opened(tmp_path):
    folder = _touch(tmp_path / "in", "locked/a.jpg")
    (folder / "locked").chmod(0)
    assert _targets(folder, tmp_path / "out") == {"locked": "locked"}
    (folder / "locked").chmod(0o700)
    folder.chmod(0)
    with pytest.raises(UsageError, match="in cannot be listed: Permission denied"):
        plan_jobs([folder], tmp_path / "out")
    folder.chmod(0o700)


def test_one_image(tmp_path, monkeypatch):
    image = _touch(tmp_path, "a.jpg") / "a.jpg"
    (tmp_path / "existing").mkdir()
    monkeypatch.chdir(tmp_path)
    for output, form, target, manifest in [
        ("new", "same", "new/a.jpg", "new"),
        ("existing", "png", "existing/a.png", "existing"),
        ("v1.2", "same", "v1.2/a.jpg", "v1.2"),
        ("x/b.png", "same", "x/b.png", None),
        ("b.JPEG", "jpg", "b.JPEG", None),
    ]:
        jobs, folder, _ = plan_jobs([image], Path(output), form)
        assert [(j.source, j.target) for j in jobs] == [(image, Path(target))]
        assert folder == (None if manifest is None else Path(manifest))


def test_wrong_use(tmp_path):
    folder = _touch(tmp_path / "in", "a.jpg", "b/c.txt")
    (tmp_path / "empty").mkdir()
    for source, output, form, message in [
        (tmp_path / "nowhere", tmp_path / "out", "same", "nowhere does not exist"),
        (tmp_path / "nowhere.jpg", tmp_path / "out.jpg", "same", "nowhere.jpg does not exist"),
        (tmp_path / "empty", tmp_path / "out", "same", "empty contains no images"),
        (folder / "b", tmp_path / "out", "same", "contains no images"),
        (folder, folder, "same", "in is also INPUT"),
        (folder, tmp_path / "x" / ".." / "in", "same", "in is also INPUT"),
        (folder / "a.jpg", tmp_path / "a.gif", "same", "can be written"),
        (folder / "a.jpg", tmp_path / "a.png", "jpg", "--format jpg"),
    ]:
        with pytest.raises(UsageError, match=message):
            plan_jobs([source], output, form)


def test_several_inputs_and_patterns(tmp_path):
    _touch(tmp_path, "in/1900/a.jpg", "in/1901/a.jpg", "in/1901/x/b.tif", "in/1901/c.txt")
    out = tmp_path / "in/1901/out"
    _touch(out, "a.jpg")
    cases = {
        "in/1900 in/1901": ["1900/a.jpg", "1901/a.jpg", "1901/x/b.tif"],
        "in/**/*.jpg": ["1900/a.jpg", "1901/a.jpg"],
        "in/1900/a.jpg in/1901/x/b.tif in/1900/a.jpg": ["1900/a.jpg", "1901/x/b.tif"],
        "in/1901/*.jpg": ["a.jpg"],
        "in/1901/x": ["b.tif"],
    }
    for words, expected in cases.items():
        inputs = [tmp_path / word for word in words.split()]
        jobs = plan_jobs(inputs, out).jobs
        assert [job.target.relative_to(out).as_posix() for job in jobs] == expected
        assert all(job.source.is_file() for job in jobs)
    for words, target, message in [
        ("in/*.png", out, r"\*\.png does not exist"),
        ("in/1900 in/1901", tmp_path / "a.jpg", "is a file"),
        ("in/1900 in/1901", tmp_path / "in/1901", "is also INPUT"),
        ("in/1901/c.txt", tmp_path / "new", None),
    ]:
        inputs = [tmp_path / word for word in words.split()]
        if message is None:
            assert len(plan_jobs(inputs, target).jobs) == 1  # reading it fails with the reason
            continue
        with pytest.raises(UsageError, match=message):
            plan_jobs(inputs, target)


def test_results_that_would_replace_an_image_are_refused(tmp_path):
    _touch(tmp_path, "in/1900/a.jpg", "in/1901/b.jpg", "in/c.tif")
    (tmp_path / "link").symlink_to("in/1900")
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a.jpg").symlink_to("../in/1900/a.jpg")
    for words, output in [
        ("in/1900/a.jpg", "in/1900"),
        ("in/1900/a.jpg", "link/a.jpg"),
        ("in/1900/a.jpg", "new"),
        ("in/1900 in/1901", "in"),
        ("in/1900 in/1901/b.jpg", "in"),
        ("in/1900/a.jpg in/1900/a.jpg", "link"),
    ]:
        plan = plan_jobs([tmp_path / word for word in words.split()], tmp_path / output)
        with pytest.raises(UsageError, match="OUTPUT is INPUT: the result of "):
            require_other_files([plan])
    sampled = [
        Job(Path("a_1.jpg"), Path("new/a.jpg")),
        Job(Path("b.jpg"), Path("a.jpg"), samples=1),
    ]
    with pytest.raises(UsageError, match=r"the result of b.jpg would overwrite .* a_1.jpg"):
        require_other_files([JobPlan(sampled, None, [])])
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out")
    require_other_files([plan], tmp_path / "out/sheet.jpg")
    for sheet in ("link/a.jpg", "out/c.tif"):
        with pytest.raises(UsageError, match=r"--sheet would overwrite .*, an image or a result"):
            require_other_files([plan], tmp_path / sheet)


def test_only_folders_and_patterns_leave_out_what_is_in_the_output(tmp_path, monkeypatch):
    _touch(tmp_path, "in/a.jpg", "in/out/a.jpg", "in/x/b.jpg", "else/c.jpg")
    (tmp_path / "in/elsewhere").symlink_to("../else")
    (tmp_path / "out").symlink_to("in/out")
    monkeypatch.chdir(tmp_path)
    for words, output, expected in [
        ("in/x", "in", ["b.jpg"]),
        ("in/x/*.jpg", "in", ["b.jpg"]),
        ("in/x/b.jpg else/c.jpg", "in", ["in/x/b.jpg", "else/c.jpg"]),
        ("in/a.jpg in/out/a.jpg", "in/out", ["a.jpg", "out/a.jpg"]),
        # By any name of the output.
        ("in", "out", ["a.jpg", "elsewhere/c.jpg", "x/b.jpg"]),
        ("in", "else", ["a.jpg", "out/a.jpg", "x/b.jpg"]),
        ("in/**/*.jpg", "out", ["a.jpg", "elsewhere/c.jpg", "x/b.jpg"]),
        ("in/*", "in/out", ["a.jpg", "elsewhere/c.jpg", "x/b.jpg"]),
    ]:
        jobs = plan_jobs([Path(word) for word in words.split()], Path(output)).jobs
        assert [job.target.relative_to(output).as_posix() for job in jobs] == expected
    for word, output in [("in/out/*.jpg", "out"), ("*/*.jpg", ".")]:
        with pytest.raises(UsageError, match=f"OUTPUT {output} is also INPUT"):
            plan_jobs([Path(word)], Path(output))
