"""The attributes of a Trainer that the data module reads, for a CPU process without a Trainer."""

from types import SimpleNamespace

import torch

SINGLE_PROCESS = SimpleNamespace(
    global_rank=0,
    world_size=1,
    num_devices=1,
    strategy=SimpleNamespace(root_device=torch.device("cpu")),
    training=False,
    fast_dev_run=0,
    overfit_batches=0,
    max_epochs=-1,
    limit_train_batches=1.0,
    limit_val_batches=1.0,
    limit_test_batches=1.0,
    default_root_dir=None,
)
"""In place of a Trainer: one process on the CPU, not in training."""
