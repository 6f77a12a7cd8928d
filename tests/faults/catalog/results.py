"""Faults of inference, evaluation, commands, sweeps and reports."""

from faults.planting import Rows, calls, constant, returns, swap

COMMANDS: Rows = {
    "tolerance-on-one-side": (
        "benchmarking.comparison:Tolerance.accepts",
        swap("abs(measured - expected)", "measured - expected"),
        "benchmarking/test_comparison.py",
    ),
    "missing-figure-is-the-same": (
        "benchmarking.comparison:compare_figures",
        swap("ours.get(name, _MISSING)", "ours.get(name, value)"),
        "benchmarking/test_comparison.py",
    ),
    "other-data-accepted": (
        "benchmarking.reproduction:check_data",
        swap("found != known[name].sha256", "False"),
        "commands/test_reproduce.py",
    ),
    "completed-commands-repeated": (
        "benchmarking.reproduction:run_commands",
        swap("plan.commands[done:]", "plan.commands[0:]"),
        "commands/test_reproduce.py",
    ),
    "outputs-overwritten": (
        "inference.colorize:_Pipeline._read",
        calls("isfile", "False"),
        "inference/test_colorize.py::test_existing_files_are_not_overwritten_by_default",
    ),
    "two-inputs-one-output": (
        "inference.jobs:_new_names",
        swap("count[new] > 1", "False"),
        "inference/test_jobs.py",
    ),
    "sixteen-bits-cut": (
        "inference.writing:fit_format",
        swap("form not in _HOLDS_SIXTEEN_BITS", "True"),
        "inference/test_colorize.py::test_a_ramp_of_sixteen_bits_keeps_its_levels",
    ),
    "alpha-lost": (
        "inference.writing:fit_format",
        swap("form not in _HOLDS_ALPHA", "True"),
        "inference/test_colorize.py::test_depth_and_transparency_are_kept_where_the_format_can",
    ),
    "batch-padded-apart": (
        "tasks.prediction:predict_views",
        swap("padded_size(task, seen[0])", "[n + 96 for n in padded_size(task, seen[0])]"),
        "inference/test_prediction.py",
    ),
    "guide-ignored": (
        "tasks.prediction:add_colors",
        swap("slope * L + offset", "slope * L.mean() + offset"),
        "inference/test_prediction.py",
    ),
    "size-not-lowered-without-memory": (
        "inference.colorize:_Pipeline._predict_with_less",
        swap("side < _SMALLEST", "True"),
        "inference/test_colorize.py::test_out_of_memory_lowers_the_batch_and_then_the_size",
    ),
    "sepia-is-color": (
        "tasks.prediction:is_colored",
        swap("colors - powers @ torch.linalg.solve(normal, powers.T @ colors)", "colors"),
        "inference/test_prediction.py",
    ),
    "batch-of-one-by-other-kernels": (
        "tasks.prediction:predict_views",
        swap("len(inputs) == 1", "False"),
        "inference/test_prediction.py::test_colors_are_bit_for_bit_those_of_an_image_alone",
    ),
    "graph-without-strength-and-flip": (
        "inference.export:NetworkGraph.forward",
        swap("self.task(L)", "self.task.decode(self.task.predict(L), L.shape[-2:])"),
        "inference/test_graph.py::test_a_graph_predicts_what_its_network_does",
    ),
    "graph-resized-without-antialiasing": (
        "inference.export:_weights",
        swap("torch.sym_max(scale, 1.0)", "1.0"),
        "inference/test_graph.py::test_a_whole_image_is_colored_as_by_colorize",
    ),
    "film-colors-from-nowhere": (
        "inference.film:ColorFollower.follow",
        swap("_CARRIED * explained", "_CARRIED"),
        "inference/test_film.py::test_what_is_uncovered_has_its_own_color",
    ),
    "film-motion-backwards": (
        "inference.film:find_motion",
        swap("np.mgrid[:height, :width] + flow", "np.mgrid[:height, :width] - flow"),
        "inference/test_film.py::test_motion_of_a_known_shift",
    ),
    "film-colors-across-cuts": (
        "inference.film:ColorFollower.follow",
        swap("difference.mean() > _CUT", "False"),
        "inference/test_film.py::test_a_cut_begins_with_new_colors",
    ),
    "film-time-from-the-count": (
        "inference.film:_Film._write",
        swap("pts is None", "True"),
        "inference/test_film.py::test_sound_and_time_stay_as_they_are",
    ),
    "half-of-the-confidence": (
        "metrics.spec:",
        swap("CONFIDENCE = 0.95", "CONFIDENCE = 0.5"),
        "evaluation/test_statistics.py",
    ),
    "lightness-of-others-replaced": (
        "evaluation.measured:_measure",
        swap(
            "ImagePair(truth.L, row.ab, truth.ab, row.L)",
            "ImagePair(truth.L, row.ab, truth.ab)",
        ),
        "evaluation/test_measured.py",
    ),
    "groups-hold-all-images": (
        "evaluation.measured:Measured.chosen",
        swap("each == category", "True"),
        "evaluation/test_measure.py",
    ),
    "own-metrics-of-all-images": (
        "evaluation.measured:_members",
        swap("members.setdefault(category, [])", "members.setdefault(category, [*members[None]])"),
        "evaluation/test_measure.py",
    ),
    "hue-of-the-prediction": (
        "evaluation.parts:measure_parts",
        swap("images.lab[1].unbind(1)", "images.lab_hat[1].unbind(1)"),
        "evaluation/test_parts.py",
    ),
    "sectors-turned-by-one": (
        "evaluation.parts:measure_parts",
        swap("1 + sector", "1 + (sector + 1) % len(HUES)"),
        "evaluation/test_parts.py",
    ),
    "images-weigh-the-same-in-a-part": (
        "evaluation.statistics:ratio_intervals",
        swap(
            "sums.sum(-1) / weights.sum(-1)",
            "np.nanmean(sums / np.where(weights > 0, weights, np.nan), axis=-1)",
        ),
        "evaluation/test_parts.py",
    ),
    "intervals-of-many-systems-alone": (
        "evaluation.statistics:joint_alpha",
        returns("1 - CONFIDENCE"),
        "evaluation/test_statistics.py",
    ),
    "power-of-one-half": (
        "common.power:",
        swap("TARGET = 0.8", "TARGET = 0.5"),
        "evaluation/test_statistics.py",
    ),
    "split-of-the-run-forgotten": (
        "inference.training_data:TrainingData.is_of",
        returns("False"),
        "commands/test_evaluate.py::test_split_and_numbers_match_the_run",
    ),
    "program-that-fails-ends-the-run": (
        "inference.colorize:_Pipeline._predict",
        swap(
            "isinstance(error, FloatingPointError | WorkError)",
            "isinstance(error, FloatingPointError)",
        ),
        "commands/test_colorize_programs.py",
    ),
    "pipeline-with-code-of-its-own": (
        "tasks.diffusion:_require_known_classes",
        swap("library in _LIBRARIES or is_own", "True"),
        "tasks/test_diffusion.py::test_an_index_cannot_name_other_code",
    ),
    "noise-of-the-images-before": (
        "tasks.diffusion:run_pipeline",
        swap("torch.Generator().manual_seed(seed)", "torch.default_generator"),
        "tasks/test_diffusion.py::test_a_pipeline_colors_and_repeats_itself_by_its_seed",
    ),
    "torchscript-without-consent": (
        "tasks.outside:_run_weights",
        swap('may_run("torch.jit")', "None"),
        "tasks/test_outside.py::test_torchscript_can_write_files_and_asks_for_consent",
    ),
    "broken-image-is-exit-0": (
        "commands.colorize:_report",
        swap("1 if failures else 0", "0"),
        "commands/test_colorize.py::test_broken_images_are_reported_and_the_rest_is_colorized",
    ),
    "blotches-of-the-truth": (
        "evaluation.failures:blotches",
        swap("_change(ab_hat, dim) - _change(ab, dim)", "_change(ab_hat, dim)"),
        "evaluation/test_failures.py",
    ),
    "collapse-of-pale-truths": (
        "evaluation.failures:grey_collapse",
        swap("true < _COLORFUL", "true < 0"),
        "evaluation/test_failures.py",
    ),
    "bleeding-inside-edges": (
        "evaluation.failures:_spread",
        swap("whole - step", "whole"),
        "evaluation/test_failures.py",
    ),
    "protocol-without-contents": (
        "evaluation.protocol:ProtocolImages.describe",
        swap('line.partition(" ")[0]', "''"),
        "evaluation/test_protocol.py",
    ),
    "protocol-with-names": (
        "evaluation.protocol:ProtocolImages.describe",
        swap('line.partition(" ")[0]', "line"),
        "evaluation/test_protocol.py",
    ),
    "protocol-crops-the-corner": (
        "evaluation.protocol:Protocol.prepare",
        swap("crop_square(resized, side)", "crop_square(resized, side, 0.0)"),
        "evaluation/test_protocol.py",
    ),
    "lightness-taken-as-kept": (
        "evaluation.protocol_result:measure_protocol",
        swap("change <= _ROUNDING", "True"),
        "commands/test_evaluate_protocol.py",
    ),
    "calibration-of-other-images": (
        "evaluation.protocol_result:ProtocolResult.problem",
        swap("abs(measured - float(published)) > _NEAR", "False"),
        "commands/test_evaluate_protocol.py",
    ),
    "protocols-mixed": (
        "reports.leaderboard:require_one_protocol",
        swap("one.model_copy(update={'name': other.name}) == other", "True"),
        "commands/test_leaderboard.py",
    ),
    "frechet-without-means": (
        "evaluation.pretrained.distances:frechet_distances",
        swap("apart + spread", "spread"),
        "evaluation/pretrained/test_distances.py",
    ),
    "extrapolated-over-n": (
        "evaluation.pretrained.distances:infinite_frechet_distances",
        swap("1 / len(subset)", "len(subset)"),
        "evaluation/pretrained/test_distances.py",
    ),
    "image-paired-with-itself": (
        "evaluation.pretrained.distances:_off_diagonal",
        swap("total - float(same.sum())", "total"),
        "evaluation/pretrained/test_distances.py",
    ),
    "inception-scaled-once": (
        "evaluation.pretrained.networks:TorchvisionInception.forward",
        swap("x * 0.5 + 0.5", "x"),
        "evaluation/pretrained/test_networks.py::"
        "test_torchvision_inception_sees_images_scaled_as_by_ddcolor",
    ),
    "networks-in-one-column": (
        "evaluation.pretrained.result:PretrainedResult.network",
        swap("self.sha256", "None"),
        "commands/test_leaderboard.py",
    ),
    "metric-lost-is-exit-0": (
        "commands.evaluate_protocol:_print_pretrained",
        returns("False"),
        "commands/test_evaluate_protocol.py::"
        "test_metrics_of_pretrained_networks_are_in_the_result_and_in_the_leaderboard",
    ),
    "weights-of-another-digest": (
        "tasks.outside:_require_digest",
        swap("(outside.sha256 or '').lower() != digest", "False"),
        "tasks/test_outside.py",
    ),
    "one-of-two-results": (
        "tasks.outside:_result",
        swap("len(same) > 1", "False"),
        "tasks/test_outside.py",
    ),
    "result-of-another-shape": (
        "tasks.outside:_result",
        swap("new_height != new_width", "False"),
        "tasks/test_outside.py",
    ),
    "command-outlives-us": (
        "tasks.outside:_run",
        swap("os.killpg(process.pid, signal.SIGKILL)", "None"),
        "tasks/test_outside.py::test_a_terminated_comparison_ends_the_command_that_it_started",
    ),
    "command-without-consent": (
        "tasks.outside:read_outside",
        calls("may_run", "None"),
        "commands/test_evaluate_protocol.py",
    ),
    "normalized-twice": (
        "tasks.outside:Values.normalize",
        swap("natural - _per_channel(self.mean)", "natural"),
        "tasks/test_outside.py",
    ),
    "grid-forgets-the-ratio": (
        "evaluation.grid:Grid.best",
        swap("ratio >= least", "True"),
        "evaluation/test_grid.py",
    ),
    "stored-decoding-ignored": (
        "inference.colorizer:load_model",
        swap("model.set_decoding(**stored)", "None"),
        "inference/test_export.py",
    ),
    "average-not-exported": (
        "tasks.predictor:predictor_state",
        swap("task.inference_net", "task.net"),
        "inference/test_export.py",
    ),
    "changed-export-loads": (
        "tasks.exported:read_exported",
        swap("metadata[_DIGEST] != _digest(stored, content)", "False"),
        "inference/test_export.py",
    ),
    "mirror-to-another-specialist": (
        "tasks.routed:RoutedPredictor.predict_views",
        swap(
            "self.views_of(net, L[which])",
            "self.views_of(self.net if self.flip else net, L[which])",
        ),
        "commands/test_router.py",
    ),
    "unsure-images-to-specialists": (
        "tasks.routed:RoutedPredictor.choose",
        swap("p >= self.confidence", "True"),
        "commands/test_router.py",
    ),
    "worst-run-first": (
        "runs.listing:rank",
        swap("cost(run.metrics[metric], goal)", "run.metrics[metric]"),
        "commands/test_runs.py::test_the_best_run_is_first_and_unfinished_runs_are_marked",
    ),
    "leak-is-exit-0": (
        "commands.audit:run",
        swap("1 if found.leaks else 0", "0"),
        "commands/test_audit.py::test_leaks_are_exit_1_and_resolved_by_the_exclusion_list",
    ),
    "exclude-list-not-packed": (
        "commands.pack:run",
        swap("FolderSource(exclude_list=args.exclude_list)", "FolderSource()"),
        "commands/test_pack.py::test_options_reach_the_pack",
    ),
    "study-writable-in-the-dashboard": (
        "commands.dashboard:_read_only",
        constant("HEAD", "DELETE"),
        "commands/test_dashboard.py::test_serves_a_study_until_interrupted",
    ),
    "init-overwrites": (
        "commands.init:_copy",
        swap("changed and not force", "False"),
        "commands/test_init.py::test_changed_files_are_not_overwritten",
    ),
    "tuned-rate-not-written": (
        "commands.tune:write_fragment",
        calls("float", "1.0"),
        "commands/test_tune.py::test_fit_accepts_the_tuned_rate",
    ),
    "warm-up-measured": (
        "benchmarking.timing:measure",
        swap("range(warm_up)", "range(0)"),
        "test_benchmarks.py::test_warm_up_is_not_measured_and_every_repeat_has_at_least_one_call",
    ),
}

SWEEPS_AND_REPORTS: Rows = {
    "stale-lease-never-taken-over": (
        "sweeps.queue:TrialQueue._is_stale",
        returns("False"),
        "sweeps/test_queue.py",
    ),
    "trials-beyond-the-cap": (
        "sweeps.queue:TrialQueue.take",
        swap("len(trials) >= total", "False"),
        "sweeps/test_queue.py",
    ),
    "hyperband-ignores-the-goal": (
        "metrics.spec:cost",
        returns("value"),
        "sweeps/test_against_sweeps.py",
    ),
    "log-uniform-is-uniform": (
        "sweeps.space:LogUniform.quantile",
        returns("self.low + u * (self.high - self.low)"),
        "sweeps/test_space.py sweeps/test_against_sweeps.py",
    ),
    "password-shown": (
        "sweeps.storage:_open_database",
        constant(True, False),
        "sweeps/test_study.py::test_no_password_is_shown",
    ),
    "each-seed-is-a-configuration": (
        "sweeps.status:leaderboard",
        swap("name != SEED", "True"),
        "sweeps/test_status.py",
    ),
    "pruned-trial-wins": (
        "sweeps.status:_is_ranked",
        returns("row.value is not None"),
        "sweeps/test_status.py",
    ),
    "more-is-better-for-every-metric": (
        "reports.comparison.tables:_verdict",
        swap("(difference.value > 0) == (metric.goal == 'max')", "difference.value > 0"),
        "reports/comparison/test_page.py::test_verdicts_follow_the_goal_of_the_metric",
    ),
    "names-become-markup": (
        "reports.kit.html:",
        constant(True, False),
        "reports/comparison/test_page.py::test_names_are_escaped",
    ),
    "truth-always-on-one-side": (
        "reports.perception.plan:_orders",
        swap("_shuffled(orders, random)", "orders[:1]"),
        "reports/perception/test_study.py",
    ),
    "served-answers-replaced": (
        "reports.perception.store:AnswerStore.add",
        swap("trial > count", "False"),
        "reports/perception/test_store.py",
    ),
    "answers-before-the-consent": (
        "reports.perception.server:_Handler._post",
        swap("rater.agreed", "True"),
        "reports/perception/test_server.py",
    ),
    "intervals-of-images-only": (
        "reports.perception.resampling:resampled_sums",
        swap("of_rater @ cells", "np.ones_like(of_rater) @ cells"),
        "reports/perception/test_intervals.py",
    ),
    "inattentive-people-counted": (
        "reports.perception.answers:Participant.attentive",
        returns("True"),
        "reports/perception/test_study.py",
    ),
}
