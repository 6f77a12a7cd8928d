"""Faults of inference, evaluation, commands, sweeps and reports."""

from faults.planting import Rows, calls, returns, swap

COMMANDS: Rows = {
    "evaluation/pretrained/test_network_metric.py::test_values_are_those_of_the_protocol": {
        "network-metric-of-the-truth": (
            "evaluation.pretrained.network_metric:NetworkMetric.compute",
            swap("self._metric.reduction.plain(features, 1)[0]", "features[1].mean()"),
        ),
    },
    "benchmarks/test_comparison.py": {
        "tolerance-on-one-side": (
            "benchmarks.comparison:Tolerance.accepts",
            swap("abs(measured - expected)", "measured - expected"),
        ),
        "missing-figure-is-the-same": (
            "benchmarks.comparison:compare_figures",
            swap("ours.get(name, _MISSING)", "ours.get(name, value)"),
        ),
    },
    "benchmarks/test_reproduce.py": {
        "other-data-accepted": (
            "benchmarks.reproduce:check_data",
            swap("found != known[name].sha256", "False"),
        ),
        "completed-commands-repeated": (
            "benchmarks.reproduce:run_commands",
            swap("plan.commands[done:]", "plan.commands[0:]"),
        ),
    },
    "commands/test_colorize.py::test_a_folder_is_colorized_once": {
        "outputs-overwritten": ("inference.colorize:_Pipeline._read", calls("all", "False")),
    },
    "inference/test_jobs.py": {
        "two-inputs-one-output": ("inference.jobs:_new_names", swap("count[new] > 1", "False")),
    },
    "inference/test_colorize.py::test_a_ramp_of_sixteen_bits_keeps_its_levels": {
        "sixteen-bits-cut": (
            "inference.writing:fit_format",
            swap("form not in _HOLDS_SIXTEEN_BITS", "True"),
        ),
    },
    ("inference/test_colorize.py::test_depth_and_transparency_are_kept_where_the_format_can"): {
        "alpha-lost": ("inference.writing:fit_format", swap("form not in _HOLDS_ALPHA", "True")),
    },
    "models/test_whole.py": {
        "batch-padded-apart": (
            "models.whole:predict",
            swap("padded_size(model, seen[0])", "[n + 96 for n in padded_size(model, seen[0])]"),
        ),
        "guide-ignored": (
            "models.whole:add_colors",
            swap("slope * L + offset", "slope * L.mean() + offset"),
        ),
        "sepia-is-color": (
            "models.whole:is_colored",
            swap("colors - powers @ torch.linalg.solve(normal, powers.T @ colors)", "colors"),
        ),
    },
    ("inference/test_colorize.py::test_out_of_memory_lowers_the_batch_and_then_the_size"): {
        "size-not-lowered-without-memory": (
            "inference.colorize:_Pipeline._predict_with_less",
            swap("side < _SMALLEST", "True"),
        ),
    },
    "models/test_whole.py::test_colors_are_bit_for_bit_those_of_an_image_alone": {
        "batch-of-one-by-other-kernels": (
            "models.network:NetworkModel._context",
            swap("len(L) == 1", "False"),
        ),
    },
    "models/test_graph.py::test_a_graph_predicts_what_its_network_does": {
        "graph-without-strength-and-flip": (
            "inference.export:NetworkGraph.forward",
            swap("model.combine(views, model.settings)", "model.colors(views[0], None)"),
        ),
    },
    "models/test_graph.py::test_a_whole_image_is_colored_as_by_colorize": {
        "graph-resized-without-antialiasing": (
            "inference.export:_weights",
            swap("torch.sym_max(scale, 1.0)", "1.0"),
        ),
    },
    "inference/test_film.py::test_a_cut_begins_with_new_colors": {
        "film-colors-across-cuts": (
            "inference.motion:ColorFollower.follow",
            swap(
                "difference.mean() > _CUT or change > max(_NOISE, _SHARE * sum(contrasts) / 2)",
                "False",
            ),
        ),
    },
    "inference/test_film.py::test_sound_and_time_stay_as_they_are": {
        "film-time-from-the-count": ("inference.film:_Film._write", swap("pts is None", "True")),
    },
    "evaluation/test_measure.py": {
        "groups-hold-all-images": (
            "evaluation.measured:Measured.chosen",
            swap("each == category", "True"),
        ),
        "own-metrics-of-all-images": (
            "evaluation.measured:_members",
            swap(
                "members.setdefault(category, [])", "members.setdefault(category, [*members[None]])"
            ),
        ),
    },
    "evaluation/test_parts.py": {
        "hue-of-the-prediction": (
            "evaluation.parts:measure_parts",
            swap("images.lab[1].unbind(1)", "images.lab_hat[1].unbind(1)"),
        ),
        "images-weigh-the-same-in-a-part": (
            "evaluation.statistics:ratio_intervals",
            swap(
                "sums.sum(-1) / weights.sum(-1)",
                "np.nanmean(sums / np.where(weights > 0, weights, np.nan), axis=-1)",
            ),
        ),
    },
    "evaluation/test_statistics.py": {
        "intervals-of-many-systems-alone": (
            "evaluation.statistics:joint_alpha",
            returns("1 - CONFIDENCE"),
        ),
    },
    "commands/test_evaluate.py::test_split_and_numbers_match_the_run": {
        "split-of-the-run-forgotten": (
            "inference.training_data:TrainingData.is_of",
            returns("False"),
        ),
    },
    "commands/test_colorize_programs.py": {
        "program-that-fails-ends-the-run": (
            "inference.colorize:_Pipeline._predict",
            swap(
                "isinstance(error, FloatingPointError | WorkError)",
                "isinstance(error, FloatingPointError)",
            ),
        ),
    },
    "models/test_diffusion.py::test_an_index_cannot_name_other_code": {
        "pipeline-with-code-of-its-own": (
            "models.diffusion:_require_known_classes",
            swap("library in _LIBRARIES or is_own", "True"),
        ),
    },
    "models/test_diffusion.py::test_a_pipeline_colors_and_repeats_itself_by_its_seed": {
        "noise-of-the-images-before": (
            "models.diffusion:run_pipeline",
            swap("torch.Generator().manual_seed(seed)", "torch.default_generator"),
        ),
    },
    "models/test_program.py::test_torchscript_can_write_files_and_asks_for_consent": {
        "torchscript-without-consent": (
            "models.program:_run_weights",
            swap('may_run("torch.jit")', "None"),
        ),
    },
    "evaluation/test_failures.py": {
        "collapse-of-pale-truths": (
            "evaluation.failures:grey_collapse",
            swap("true < _COLORFUL", "true < 0"),
        ),
    },
    "evaluation/test_protocol.py": {
        "protocol-without-contents": (
            "evaluation.protocol:ProtocolImages.measured",
            swap('line.partition(" ")[0]', "''"),
        ),
        "protocol-with-names": (
            "evaluation.protocol:ProtocolImages.measured",
            swap('line.partition(" ")[0]', "line"),
        ),
        "protocol-crops-the-corner": (
            "evaluation.protocol:Protocol.prepare",
            swap("crop_square(resized, side)", "crop_square(resized, side, 0.0)"),
        ),
        "protocol-square-resized-first": (
            "evaluation.protocol:Protocol.prepare",
            swap("[side] if self.shape == 'crop' else [side, side]", "[side]"),
        ),
        "protocol-always-smoothed": (
            "evaluation.protocol:Protocol.prepare",
            swap("not self.antialias", "False"),
        ),
        "protocol-older-digests-lost": (
            "evaluation.protocol:Protocol.settings",
            returns("self.model_dump()"),
        ),
    },
    "commands/test_protocol.py": {
        "baselines-see-the-clean-image": (
            "evaluation.protocol_result:measure_protocol",
            swap("each.color(L_seen)", "each.color(batch.L)"),
        ),
        "lightness-taken-as-kept": (
            "evaluation.protocol_result:measure_protocol",
            swap("change <= _ROUNDING", "True"),
        ),
        "delta-colorfulness-of-images": (
            "evaluation.protocol_result:measure_protocol",
            swap(
                "colorful - colorful[names.index(TRUTH)]",
                "abs(colorful - colorful[names.index(TRUTH)])",
            ),
        ),
        "calibration-of-other-images": (
            "evaluation.protocol_result:ProtocolResult.problem",
            swap("abs(measured - float(published)) > _NEAR", "False"),
        ),
        "command-without-consent": ("models.program:read_program", calls("may_run", "None")),
    },
    "commands/test_leaderboard.py": {
        "protocols-mixed": (
            "reports.leaderboard:require_one_protocol",
            swap("one.model_copy(update={'name': other.name}) == other", "True"),
        ),
        "published-for-another-resizing": (
            "reports.leaderboard:published",
            swap("read_protocol(name).settings() == measured.settings", "True"),
        ),
        "networks-in-one-column": (
            "evaluation.pretrained.result:PretrainedResult.network",
            swap("self.sha256", "None"),
        ),
    },
    (
        "commands/test_protocol.py::"
        "test_metrics_of_pretrained_networks_are_in_the_result_and_in_the_leaderboard"
    ): {
        "metric-lost-is-exit-0": ("commands.protocol:_print_pretrained", returns("False")),
    },
    "models/test_program.py": {
        "weights-of-another-digest": (
            "models.program:_require_digest",
            swap("(described.sha256 or '').lower() != digest", "False"),
        ),
        "one-of-two-results": ("models.program:_result", swap("len(same) > 1", "False")),
        "result-of-another-shape": (
            "models.program:_result",
            swap("new_height != new_width", "False"),
        ),
    },
    ("models/test_program.py::test_a_terminated_comparison_ends_the_command_that_it_started"): {
        "command-outlives-us": (
            "models.program:_run",
            swap("os.killpg(process.pid, signal.SIGKILL)", "None"),
        ),
    },
    "evaluation/test_grid.py": {
        "grid-forgets-the-ratio": ("evaluation.grid:Grid.best", swap("ratio >= least", "True")),
    },
    "inference/test_export.py": {
        "stored-decoding-ignored": (
            "models.load:load_model",
            swap("model.settings.updated(stored)", "model.settings"),
        ),
        "changed-export-loads": (
            "models.exported:read_exported",
            swap("metadata[_DIGEST] != _digest(stored, content)", "False"),
        ),
    },
    "commands/test_router.py": {
        "mirror-to-another-specialist": (
            "models.routed:RoutedModel.views",
            swap(
                "self._views(network, L[which], condition.chosen(images), flip)",
                "self._views(self.network if flip else network, L[which],"
                " condition.chosen(images), flip)",
            ),
        ),
        "unsure-images-to-specialists": (
            "models.routed:RoutedModel.choose",
            swap("p >= self.confidence", "True"),
        ),
    },
    "commands/test_runs.py::test_the_best_run_is_first_and_unfinished_runs_are_marked": {
        "worst-run-first": (
            "runs.listing:rank",
            swap("cost(run.metrics[metric], goal)", "run.metrics[metric]"),
        ),
    },
    "commands/test_init.py::test_changed_files_are_not_overwritten": {
        "init-overwrites": ("commands.init:_copy", swap("changed and not force", "False")),
    },
    "commands/test_tune.py::test_fit_accepts_the_tuned_rate": {
        "tuned-rate-not-written": ("commands.tune:write_fragment", calls("float", "1.0")),
    },
    (
        "benchmarks/test_scripts.py::"
        "test_warm_up_is_not_measured_and_every_repeat_has_at_least_one_call"
    ): {
        "warm-up-measured": ("benchmarking.timing:measure", swap("range(warm_up)", "range(0)")),
    },
}
SWEEPS_AND_REPORTS: Rows = {
    "reports/test_architecture.py": {
        "flops-listed-as-macs": (
            "reports.architecture:_Watch._after",
            swap("(self.counter.get_total_flops() - flops) // 2", "self.counter.get_total_flops()"),
        ),
        "skips-of-unused-levels-drawn": (
            "reports.architecture:_Watch.find_skips",
            swap("gradient is not None", "True"),
        ),
        "layers-that-are-not-called-listed-as-called": (
            "reports.architecture:_Watch._after",
            swap("not is_block", "True"),
        ),
    },
    "data/decoding/test_files.py::test_heic_is_read_with_its_extra": {
        "hint-installs-from-an-index": (
            "common.arguments:install",
            returns("f'uv add lightning-colorize[{extra}]'"),
        ),
    },
    "sweeps/test_queue.py": {
        "stale-lease-never-taken-over": ("sweeps.queue:TrialQueue._is_stale", returns("False")),
        "trials-beyond-the-cap": (
            "sweeps.queue:TrialQueue.take",
            swap("len(trials) >= total", "False"),
        ),
    },
    "sweeps/test_agent.py::test_a_trial_sees_nothing_of_an_outer_task": {
        "environment-not-cleaned": (
            "sweeps.trial:clean",
            swap("name.startswith(_OUTER)", "False"),
        ),
        "port-shared-by-trials": (
            "sweeps.trial:clean",
            swap("name in _OUTER_NAMES", "False"),
        ),
    },
    "sweeps/test_agent.py::test_a_job_resumes_the_trial_of_a_killed_one_in_the_same_wandb_run": {
        "wandb-run-id-not-reused": (
            "sweeps.agent:_resume_left",
            swap("record.environment", "{'WANDB_RUN_ID': 'another'}"),
        ),
        "killed-job-ends-its-trial": ("sweeps.agent:run_trial", calls("job_ends", "False")),
    },
    "sweeps/test_agent.py::test_a_trial_stopped_at_wandb_has_ended": {
        "trial-stopped-at-wandb-resumes": ("sweeps.agent:run_trial", calls("job_ends", "True")),
    },
    "sweeps/test_against_sweeps.py": {
        "hyperband-ignores-the-goal": ("metrics.spec:cost", returns("value")),
    },
    "sweeps/test_space.py sweeps/test_against_sweeps.py": {
        "log-uniform-is-uniform": (
            "sweeps.space:quantile",
            swap(
                "math.exp(math.log(low) + u * (math.log(high) - math.log(low)))", "low + u * high"
            ),
        ),
    },
    "sweeps/test_status.py": {
        "each-seed-is-a-configuration": ("sweeps.status:leaderboard", swap("name != SEED", "True")),
        "pruned-trial-wins": ("sweeps.status:_is_ranked", returns("row.value is not None")),
    },
    "reports/comparison/test_page.py::test_verdicts_follow_the_goal_of_the_metric": {
        "more-is-better-for-every-metric": (
            "reports.comparison.tables:_verdict",
            swap("(difference.value > 0) == (metric.goal == 'max')", "difference.value > 0"),
        ),
    },
    "reports/perception/test_study.py": {
        "truth-always-on-one-side": (
            "reports.perception.plan:_orders",
            swap("_shuffled(orders, random)", "orders[:1]"),
        ),
        "inattentive-people-counted": (
            "reports.perception.answers:Participant.attentive",
            returns("True"),
        ),
    },
    "reports/perception/test_store.py": {
        "served-answers-replaced": (
            "reports.perception.store:AnswerStore.add",
            swap("trial > count", "False"),
        ),
    },
    "reports/perception/test_server.py": {
        "answers-before-the-consent": (
            "reports.perception.server:StudyServer._store",
            swap("rater.agreed", "True"),
        ),
    },
    "reports/perception/test_intervals.py": {
        "intervals-of-images-only": (
            "reports.perception.bradley_terry:resampled_sums",
            swap("of_rater @ cells", "np.ones_like(of_rater) @ cells"),
        ),
    },
    (
        "reports/comparison/test_page.py::"
        "test_the_page_requests_nothing_escapes_names_and_describes_images"
    ): {
        "names-become-markup": ("reports.kit.html:", swap("True", "False")),
    },
    "sweeps/test_study.py::test_invalid_storages": {
        "password-shown": ("sweeps.storage:_open_database", swap("True", "False")),
    },
    "commands/test_dashboard.py::test_serves_a_study_until_interrupted": {
        "study-writable-in-the-dashboard": (
            "commands.dashboard:_guarded",
            swap("'HEAD'", "'DELETE'"),
        ),
    },
    "inference/test_colorizer.py::test_files_that_are_no_checkpoint": {
        "checkpoint-runs-code": ("models.checkpoint:read_checkpoint", swap("True", "False")),
    },
    "models/test_model.py::test_a_file_builds_no_model_without_consent": {
        "models-built-without-consent": (
            "common.class_paths:",
            swap("'lightning_colorize.models.exported'", "'lightning_colorize.models'"),
        ),
    },
    "commands/test_audit.py::test_leaks_are_exit_1_and_resolved_by_the_exclusion_list": {
        "leak-is-exit-0": ("commands.audit:run", swap("1 if found.leaks else 0", "0")),
    },
    "commands/test_colorize.py::test_broken_images_are_reported_and_the_rest_is_colorized": {
        "broken-image-is-exit-0": (
            "commands.colorize:_report",
            swap("1 if failures else 0", "0"),
        ),
    },
    "commands/test_pack.py::test_options_reach_the_pack": {
        "exclude-list-not-packed": (
            "commands.pack:run",
            swap("FolderSource(exclude_list=args.exclude_list)", "FolderSource()"),
        ),
    },
}
