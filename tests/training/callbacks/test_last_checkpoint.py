from types import SimpleNamespace

import pytest

from lightning_colorize.training.callbacks.checkpoints import LastCheckpoint, resumable
from tests.training.callbacks.conftest import fake_trainer


def trainer_at(batch_idx, **options):
    """A trainer at the end of a batch of an epoch of ten."""
    loops = SimpleNamespace(total_batch_idx=10 + batch_idx)
    defaults = {"val_check_batch": 10, "is_last_batch": batch_idx == 9, "fit_loop": loops}
    return fake_trainer(**defaults | options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(9))),
        ({"accumulate_grad_batches": 3}, [2, 5, 8]),
        ({"val_check_batch": 4}, [0, 1, 2, 4, 5, 6, 8]),
        # Counted over epochs: batches 12, 16 and 20 of the run are the second, sixth and tenth.
        ({"val_check_batch": 4, "check_val_every_n_epoch": None}, [0, 2, 3, 4, 6, 7, 8]),
        ({"val_check_batch": float("inf")}, list(range(9))),
        ({"val_check_batch": None}, list(range(9))),
    ],
)
def test_batches_after_which_a_run_resumes_exactly(options, expected):
    assert [b for b in range(10) if resumable(trainer_at(b, **options), b)] == expected


def test_checkpoint_of_an_epoch_is_saved_after_the_loader_ends_it(tmp_path):
    calls = []
    loader = SimpleNamespace(end_epoch=lambda: calls.append("ended"))
    trainer = fake_trainer(train_dataloader=loader, save_checkpoint=calls.append)
    LastCheckpoint(tmp_path / "last.ckpt", every_n_steps=100).on_train_epoch_end(trainer, None)
    assert calls == ["ended", tmp_path / "last.ckpt"]
