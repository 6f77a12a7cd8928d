"""Faults of runs, training and clusters."""

from faults.planting import Rows, calls, returns, swap

RUNS: Rows = {
    "common/test_class_paths.py": {
        "class-path-unchecked": ("common.class_paths:untrusted_classes", returns("[]")),
    },
    "common/test_files.py": {
        "file-not-written-atomically": (
            "common.files:write_atomic",
            returns("path.write_text(text, encoding='utf-8') and None"),
        ),
    },
    "runs/test_naming.py": {
        "run-overwritten": ("runs.naming:refuse_taken", returns("None")),
    },
    "runs/test_record.py": {
        "nan-in-result": ("common.files:_finite", returns("value")),
    },
    "training/test_resume.py::test_locked_run_is_not_resumed": {
        "two-processes-in-one-run": (
            "runs.folder:lock",
            returns("__import__('contextlib').nullcontext()"),
        ),
    },
    "training/test_resume.py::test_refused_resume_changes_nothing": {
        "config-not-restored-after-refused-resume": (
            "training.cli:SaveConfig.setup",
            returns("self.on_train_start(trainer, pl_module)"),
        ),
    },
    "training/callbacks/test_grids.py::test_grids_of_the_best_epoch_are_not_deleted": {
        "best-is-worst": (
            "training.callbacks.checkpoints:BestCheckpoint.__init__",
            swap("mode", "'min' if mode == 'max' else 'max'"),
        ),
    },
    "training/callbacks/test_best_checkpoint.py": {
        "smoothing-forgets-nothing": (
            "training.callbacks.checkpoints:SmoothedMonitor.on_validation_end",
            swap("[*self.recent, float(latest)][-self.count :]", "[*self.recent, float(latest)]"),
        ),
    },
    "commands/test_evaluate.py::test_training_ends_with_a_test_of_the_best_weights": {
        "test-with-the-last-weights": ("commands.fit:train", calls("is_file", "False")),
    },
    "training/callbacks/test_checkpoint_file.py": {
        "checkpoint-written-in-place": (
            "training.callbacks.checkpoints:AtomicCheckpointIO.save_checkpoint",
            calls("with_name", "it"),
        ),
    },
    "training/callbacks/test_last_checkpoint.py": {
        "checkpoint-in-mid-accumulation": (
            "training.callbacks.checkpoints:resumable",
            swap("(batch_idx + 1) % trainer.accumulate_grad_batches", "False"),
        ),
    },
    "training/callbacks/test_interrupt.py": {
        "signal-reaches-one-process": (
            "training.callbacks.interrupt:GracefulStop._is_signaled",
            returns("self.received is not None"),
        ),
    },
    "training/callbacks/test_gan_health.py": {
        "collapsed-gan-not-reported": (
            "training.callbacks.gan_health:GANHealth._discriminator",
            swap("not loss <= _COLLAPSED * chance", "False"),
        ),
    },
    "training/loggers/test_wandb_run.py": {
        "resume-in-a-new-wandb-run": (
            "training.loggers.wandb_run:_run_id",
            calls("is_file", "False"),
        ),
    },
    "training/loggers/test_wandb_run.py::test_unsent_steps_are_logged_from_the_file": {
        "unsent-steps-lost": (
            "training.loggers.wandb_run:WandbRun._set_up",
            swap("self._log_unsent(self._resume_step)", "pass"),
        ),
        "steps-beyond-the-checkpoint-sent": (
            "training.loggers.wandb_run:WandbRun._log_unsent",
            swap("self._logged_before < step < resume_step", "self._logged_before < step"),
        ),
    },
    "training/loggers/test_wandb_run.py::test_checkpoints_are_artifacts_on_request": {
        "artifact-best-is-last": (
            "training.loggers.wandb_run:WandbRun.close",
            swap("BEST", "LAST"),
        ),
        "artifact-unasked": (
            "training.loggers.wandb_run:WandbRun.close",
            swap("self._log_checkpoints", "True"),
        ),
    },
    "training/loggers/test_artifacts.py::test_run_is_downloaded_once": {
        "artifact-overwrites-a-run": ("runs.resuming:download_run", calls("exists", "False")),
    },
    "training/loggers/test_artifacts.py::test_artifact_writes_only_below_the_runs": {
        "artifact-written-anywhere": (
            "runs.resuming:download_run",
            swap("{'/', '..'} & {*names}", "False"),
        ),
    },
    "training/loggers/test_mlflow_run.py::test_resumed_run_logs_no_step_twice": {
        "mlflow-resume-in-a-new-run": (
            "training.loggers.mlflow_run:MLflowRun.__init__",
            calls("is_file", "False"),
        ),
        "mlflow-steps-twice": (
            "training.loggers.mlflow_run:MLflowRun.log_metrics",
            swap("step < self._logged_before", "False"),
        ),
    },
    "training/loggers/test_mlflow_run.py::test_server_that_fails_later_does_not_stop_training": {
        "mlflow-error-ends-the-run": (
            "training.loggers.mlflow_run:MLflowRun.log_metrics",
            calls("guarded", "__import__('contextlib').nullcontext()"),
        ),
    },
    "training/test_auto_resume.py": {
        "auto-resume-starts-over": (
            "training.cli:ColorizeCLI._auto_resume",
            calls("is_file", "False"),
        ),
    },
    "test_cli.py::test_exit_codes": {
        "wrong-use-is-exit-1": ("cli:main", swap("WRONG_USE", "FAILED")),
    },
    "commands/test_launch.py::test_the_batch_script": {
        "requeued-without-end": (
            "cluster.batch:",
            swap("_OUT_OF_TIME = 138", "_OUT_OF_TIME = 0"),
        ),
    },
}
