from types import SimpleNamespace

import pytest

from lightning_colorize.training.callbacks.checkpoints import LastCheckpoint, resumable


def trainer_at(batch_idx, **options):
    """A trainer at the end of a batch of an epoch of ten."""
    defaults = {"accumulate_grad_batches": 1, "val_check_batch": 10, "check_val_every_n_epoch": 1}
    trainer = SimpleNamespace(**{**defaults, **options})
    trainer.is_last_batch, trainer.should_stop = batch_idx == 9, False
    trainer.fit_loop = SimpleNamespace(total_batch_idx=10 + batch_idx)
    return trainer


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


def test_checkpoint_is_written_at_the_first_resumable_batch(tmp_path):
    last = LastCheckpoint(tmp_path / "last.ckpt", every_n_steps=3)
    saved = []

    def run(step):
        trainer = trainer_at(step, val_check_batch=3)
        trainer.global_step = step + 1
        trainer.is_global_zero = True
        trainer._logger_connector = SimpleNamespace(update_train_step_metrics=lambda: None)
        trainer.save_checkpoint = lambda path: path.write_text(str(step + 1))
        if step == 0:
            trainer.global_step = 0
            last.on_train_start(trainer, None)
            trainer.global_step = 1
        last.on_train_batch_end(trainer, None, None, None, step)
        if (tmp_path / "last.ckpt").exists():
            saved.append(int((tmp_path / "last.ckpt").read_text()))

    for step in range(10):
        run(step)
    # Due at 3, but a validation follows: written at 4; due at 7, written there; 10 is the epoch's.
    assert sorted(set(saved)) == [4, 7]
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_checkpoint_of_an_epoch_is_saved_after_the_loader_ends_it(tmp_path):
    calls = []

    def save(path):
        calls.append("saved")
        path.touch()

    loader = SimpleNamespace(end_epoch=lambda: calls.append("closed"))
    trainer = SimpleNamespace(
        train_dataloader=loader, save_checkpoint=save, is_global_zero=True, global_step=2
    )
    LastCheckpoint(tmp_path / "last.ckpt", every_n_steps=100).on_train_epoch_end(trainer, None)
    assert calls == ["closed", "saved"]
    assert (tmp_path / "last.ckpt").exists()
