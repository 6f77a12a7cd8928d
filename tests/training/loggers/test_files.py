import pytest

from lightning_colorize.training.loggers.files import MetricsFile


def _fill(file, steps):
    for step in steps:
        file.update(step, {"train/loss": 1 / (step + 1), "epoch": step // 3})
        if step % 3 == 2:
            file.update(step, {"val/psnr": 20.0 + step, "epoch": step // 3})


def test_the_file_is_complete_after_every_update(tmp_path):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.update(0, {"loss": 0.5, "epoch": 0})
    assert path.read_text() == "step,epoch,loss\n0,0,0.5\n"
    file.update(1, {"loss": 0.25, "epoch": 0})
    assert path.read_text() == "step,epoch,loss\n0,0,0.5\n1,0,0.25\n"
    file.update(1, {"acc": 1.0})
    assert path.read_text() == "step,epoch,acc,loss\n0,0,,0.5\n1,0,1.0,0.25\n"
    file.update(2, {"loss": 0.125, "epoch": 1})
    file.update(2, {"acc": 2.0})
    file.update(3, {"loss": 0.0625})
    assert path.read_text() == (
        "step,epoch,acc,loss\n0,0,,0.5\n1,0,1.0,0.25\n2,1,2.0,0.125\n3,,,0.0625\n"
    )


def test_a_later_value_replaces_a_longer_one(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in range(2):
        file.update(step, {"loss": 0.123456789})
    file.update(1, {"loss": 7})
    assert file.path.read_text() == "step,epoch,loss\n0,,0.123456789\n1,,7\n"


def test_rows_are_sorted_by_step(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in (0, 5, 3, 5, 6):
        file.update(step, {"loss": float(step)})
    steps = [line.partition(",")[0] for line in file.path.read_text().splitlines()[1:]]
    assert steps == ["0", "3", "5", "6"]


@pytest.mark.parametrize("resume_step", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("killed_after", [4, 7])
def test_resumed_file_equals_the_uninterrupted_one(tmp_path, killed_after, resume_step):
    resume_step = min(resume_step, killed_after)
    _fill(MetricsFile(tmp_path / "uninterrupted.csv"), range(9))
    _fill(MetricsFile(tmp_path / "killed.csv"), range(killed_after))
    _fill(MetricsFile(tmp_path / "killed.csv", resume_step), range(resume_step, 9))
    uninterrupted = (tmp_path / "uninterrupted.csv").read_bytes()
    assert (tmp_path / "killed.csv").read_bytes() == uninterrupted
    assert len(uninterrupted.splitlines()) == 10


@pytest.mark.parametrize("damaged", ["5", "\0\0\0\n", "\0\0,0,1\n", "52,0,\0\n", ",0,0.5\n"])
def test_damaged_row_is_dropped(tmp_path, damaged):
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,epoch,note\n49,0,0.5\n50,0,late\n{damaged}")
    MetricsFile(path).update(51, {"note": 0.125})
    assert path.read_text() == "step,epoch,note\n49,0,0.5\n50,0,late\n51,,0.125\n"
