"""A Trainer without a training."""

from types import SimpleNamespace

import torch


def fake_trainer(**more):
    """Return the attributes of a Trainer that callbacks use, in one process and its first epoch."""
    strategy = SimpleNamespace(
        root_device=torch.device("cpu"),
        reduce_boolean_decision=lambda decision, all=True: decision,
        all_gather=lambda tensor: tensor,
    )
    defaults = {
        **{"strategy": strategy, "world_size": 1, "is_global_zero": True, "loggers": []},
        **{"current_epoch": 0, "global_step": 0, "max_epochs": 1, "callback_metrics": {}},
        **{"sanity_checking": False, "should_stop": False, "is_last_batch": False},
        **{"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "val_check_batch": None},
        **{"default_root_dir": "", "callbacks": [], "log_every_n_steps": 1},
        "datamodule": SimpleNamespace(counts=dict),
    }
    return SimpleNamespace(**defaults | more)
