"""Run folders that not all nodes share, on fake nodes (real ones: distributed/test_torchrun.py)."""

from types import SimpleNamespace

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.callbacks import SharedFolder


def trainer(others, nodes=2):
    """A trainer of two processes; `others` says whether the other sees the folder and resumes."""
    answers = iter([others[0], others[1], others[1]])

    def decide(mine, all=True):
        both = (mine, next(answers))
        return (both[0] and both[1]) if all else (both[0] or both[1])

    return SimpleNamespace(
        num_nodes=nodes, strategy=SimpleNamespace(reduce_boolean_decision=decide)
    )


@pytest.mark.parametrize("resumed", [False, True])
def test_folder_and_checkpoint_must_be_seen_by_all_nodes(tmp_path, resumed):
    callback = SharedFolder(tmp_path, resumed)
    with pytest.raises(UsageError, match=r"--run\.root must be a shared folder"):
        callback.setup(trainer((True, resumed)), None, "fit")
    (tmp_path / ".lock").touch()
    callback.setup(trainer((True, resumed)), None, "fit")
    for others in ((False, resumed), (True, not resumed)):
        with pytest.raises(UsageError, match="not all nodes see"):
            callback.setup(trainer(others), None, "fit")
        # Neither a single node nor the test stage is checked.
        callback.setup(trainer(others, nodes=1), None, "fit")
        callback.setup(trainer(others), None, "test")
