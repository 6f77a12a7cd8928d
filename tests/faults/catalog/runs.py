"""Faults of runs, training and clusters."""

from faults.planting import Rows, calls, constant, returns, swap

RUNS: Rows = {
    "class-path-unchecked": (
        "common.class_paths:check_class_paths",
        returns("None"),
        "common/test_class_paths.py",
    ),
    "file-not-written-atomically": (
        "common.files:write_atomic",
        returns("path.write_text(text, encoding='utf-8') and None"),
        "common/test_files.py",
    ),
    "run-overwritten": (
        "runs.naming:refuse_taken",
        returns("None"),
        "runs/test_naming.py",
    ),
    "nan-in-result": ("common.files:_finite", returns("value"), "runs/test_record.py"),
    "two-processes-in-one-run": (
        "runs.folder:lock",
        calls("acquire", "None"),
        "training/test_resume.py::test_locked_run_is_not_resumed",
    ),
    "config-not-restored-after-refused-resume": (
        "training.callbacks.config:SaveConfig.setup",
        returns("self.on_train_start(trainer, pl_module)"),
        "training/test_resume.py::test_refused_resume_changes_nothing",
    ),
    "best-is-worst": (
        "training.callbacks.best_checkpoint:BestCheckpoint.__init__",
        swap("mode", "'min' if mode == 'max' else 'max'"),
        "training/callbacks/test_grids.py::test_grids_of_the_best_epoch_are_not_deleted",
    ),
    "smoothing-forgets-nothing": (
        "training.callbacks.best_checkpoint:SmoothedMonitor.on_validation_end",
        swap("[*self.recent, float(latest)][-self.count :]", "[*self.recent, float(latest)]"),
        "training/callbacks/test_best_checkpoint.py",
    ),
    "test-with-the-last-weights": (
        "commands.fit:train",
        calls("is_file", "False"),
        "commands/test_evaluate.py::test_training_ends_with_a_test_of_the_best_weights",
    ),
    "checkpoint-written-in-place": (
        "training.callbacks.checkpoint_file:AtomicCheckpointIO.save_checkpoint",
        calls("with_name", "it"),
        "training/callbacks/test_checkpoint_file.py",
    ),
    "checkpoint-in-mid-accumulation": (
        "training.callbacks.last_checkpoint:resumable",
        swap("(batch_idx + 1) % trainer.accumulate_grad_batches", "False"),
        "training/callbacks/test_last_checkpoint.py",
    ),
    "throughput-of-one-process": (
        "training.callbacks.throughput:Throughput.on_train_batch_end",
        swap("len(batch) * trainer.world_size", "len(batch)"),
        "training/callbacks/test_throughput.py",
    ),
    "signal-reaches-one-process": (
        "training.callbacks.interrupt:GracefulStop._is_signaled",
        returns("self.received is not None"),
        "training/callbacks/test_interrupt.py",
    ),
    "collapsed-gan-not-reported": (
        "training.callbacks.gan_health:GANHealth._discriminator",
        swap("not loss <= _COLLAPSED * chance", "False"),
        "training/callbacks/test_gan_health.py",
    ),
    "csv-row-of-the-checkpoint-twice": (
        "runs.metrics_file:MetricsFile._load",
        swap("step < resume_step", "step <= resume_step"),
        "training/loggers/test_files.py",
    ),
    "resume-in-a-new-wandb-run": (
        "training.loggers.wandb_run:_run_id",
        calls("is_file", "False"),
        "training/loggers/test_wandb_run.py",
    ),
    "auto-resume-starts-over": (
        "training.cli:ColorizeCLI._auto_resume",
        calls("is_file", "False"),
        "training/test_auto_resume.py",
    ),
    "days-of-a-time-limit-ignored": (
        "cluster.batch:_minutes",
        swap("days * 24 + hours", "hours"),
        "sweeps/test_slurm.py::test_time_limits_without_options_that_were_not_given",
    ),
    "requeued-without-end": (
        "cluster.batch:",
        swap("_OUT_OF_TIME = 138", "_OUT_OF_TIME = 0"),
        "commands/test_launch.py::test_the_batch_script",
    ),
    "launch-starts-over": (
        "commands.launch:_fit_words",
        constant("true", "false"),
        "commands/test_launch.py::test_the_batch_script",
    ),
    "wrong-use-is-exit-1": (
        "cli:main",
        swap("WRONG_USE", "FAILED"),
        "test_cli.py::test_exit_codes",
    ),
}
