"""Faults of color, metrics, losses, networks and tasks."""

from faults.planting import Rows, calls, returns, swap

COLOR: Rows = {
    "color/test_lab.py": {
        "rgb-always-clipped": (
            "color.lab:to_rgb",
            swap("rgb.clamp(0.0, 1.0) if clip else rgb", "rgb.clamp(0.0, 1.0)"),
        ),
    },
    "color/test_gamut.py": {
        "gamut-clipped-in-rgb": (
            "color.gamut:fit_gamut",
            returns(
                "(lab := __import__('lightning_colorize.color.lab', fromlist=['x']))"
                ".to_lab(lab.to_rgb(L, ab))[1]"
            ),
        ),
    },
}
METRICS: Rows = {
    "metrics/test_collection.py": {
        "psnr-without-cap": ("metrics.formulas:psnr", calls("clamp", "it")),
        "metrics-under-autocast": (
            "metrics.functional:measure",
            calls("full_precision", "torch.no_grad()"),
        ),
        "ab-corr-takes-the-larger": (
            "metrics.formulas:ab_corr_over_images",
            swap("torch.minimum", "torch.maximum"),
        ),
        "colorfulness-ratio-inverted": (
            "metrics.formulas:colorfulness_ratio_over_images",
            returns("values.mean(-1)[1] / values.mean(-1)[0].clamp(min=COLORLESS)"),
        ),
    },
}
LOSSES: Rows = {
    "losses/test_pixel.py": {
        "loss-in-half-precision": ("losses.base:as_float32_pair", calls("promote_types", "it")),
    },
    "losses/test_color.py": {
        "colorfulness-not-capped": (
            "losses.colorfulness:Colorfulness.forward",
            calls("clamp", "it"),
        ),
        "out-of-gamut-without-gradient-at-dark-yellow": (
            "color.lab:to_linear_rgb",
            swap("z = root_z + (z - root_z).detach()", "pass"),
        ),
    },
    "losses/test_perceptual.py": {
        "perceptual-backbone-in-checkpoints": (
            "losses.perceptual:Perceptual.__init__",
            swap("self.weights = weights", "self.weights, self.net = weights, backbone()"),
        ),
        "perceptual-trains-its-backbone": (
            "losses.perceptual:Perceptual.backbone",
            calls("requires_grad_", "it"),
        ),
        "perceptual-backbone-of-inference-mode": (
            "losses.perceptual:Perceptual.forward",
            calls("inference_mode", "torch.enable_grad()"),
        ),
    },
    "losses/test_adversarial.py": {
        "bce-real-for-fake": (
            "losses.adversarial.bce:BCEAdversarial.forward",
            swap(
                "1 - self.label_smoothing if real else 0.0",
                "0.0 if real else 1 - self.label_smoothing",
            ),
        ),
    },
}
NETWORKS: Rows = {
    "tasks/test_classification.py": {
        "rare-colors-not-weighted-in-fit": (
            "tasks.base:ColorizationTask.on_fit_start",
            swap("first.finish()", "None"),
        ),
    },
    "networks/test_colorizer.py": {
        "odd-sizes-padded-with-the-edge": (
            "networks.colorizer:pad_input",
            calls("abs", "torch.zeros(1, dtype=torch.int64)"),
        ),
    },
    "tasks/test_distillation.py": {
        "teacher-rebalances": (
            "tasks.distillation:Distillation.forward",
            swap("self._bins[0].weights", "teacher.bins.weights"),
        ),
        "teacher-not-checked-early": (
            "tasks.distillation:Distillation.__init__",
            calls("checkpoint_skipped", "True"),
        ),
    },
    "tasks/test_optimization.py::test_levels_of_a_pyramid_are_those_of_its_encoder": {
        "levels-of-a-pyramid": (
            "tasks.optimization:parameters_by_level",
            swap("encoder = encoder.pretrained_part", "pass"),
        ),
    },
    "networks/test_encoders.py": {
        "input-range-ignored": (
            "networks.encoders.timm_backbone:TimmEncoder.__init__",
            swap("normalization is None", "True"),
        ),
        "padded-pyramid": (
            "networks.encoders.pyramid:PyramidEncoder.forward",
            swap("(height + r - 1) // r", "None"),
        ),
        "first-conv-averaged-over-rgb": (
            "networks.encoders.pretrained:fit_channels",
            swap("conv.weight.data.sum", "conv.weight.data.mean"),
        ),
        "imagenet-mean-forgotten": (
            "networks.encoders.pretrained:normalize_input",
            returns("(image + 1) / 2"),
        ),
    },
    "networks/test_weights.py": {
        "missing-weights-accepted": (
            "networks.encoders.weights:load_weights",
            swap("network.load_state_dict(whole)", "network.load_state_dict(whole, strict=False)"),
        ),
    },
    "networks/test_decoders.py": {
        "concatenated-level-not-normed": (
            "networks.decoders.upsample:DecoderStep.forward",
            swap("self.norm(skip)", "skip"),
        ),
        "icnr-repeats-wrong-channels": (
            "networks.decoders.upsample:PixelShuffleBlock.__init__",
            swap("one.repeat_interleave(4, dim=0)", "one.repeat(4, 1, 1, 1)"),
        ),
        "context-of-each-pixel-alone": (
            "networks.decoders.context:GlobalContext.forward",
            calls("mean", "it"),
        ),
        "queries-see-the-coarsest-scale-only": (
            "networks.decoders.color_queries:ColorQueryDecoder.forward",
            swap("scales[number % len(scales)]", "scales[0]"),
        ),
    },
    "networks/test_decoders.py::test_attention_equals_torchs": {
        "attention-not-scaled": (
            "networks.decoders.context:SelfAttention.forward",
            swap(
                "F.scaled_dot_product_attention(q, k, v)",
                "F.scaled_dot_product_attention(q, k, v, scale=1.0)",
            ),
        ),
    },
    "networks/test_heads.py": {
        "rgb-target-of-one-lightness": (
            "networks.heads:RgbHead.target",
            swap("(L + 1) * 50", "0 * L + 50"),
        ),
    },
    "models/test_network.py": {
        "rgb-compared-with-the-lightness-of-the-image": (
            "models.network:NetworkModel.__init__",
            swap("head.keep_lightness or self.draws", "True"),
        ),
    },
    "networks/test_discriminators.py": {
        "patchgan-does-not-see-lightness": (
            "networks.discriminators.patch:PatchDiscriminator.forward",
            swap("torch.cat([L, ab], dim=1)", "torch.cat([0 * L, ab], dim=1)"),
        ),
    },
}
TASKS: Rows = {
    "evaluation/test_grid.py": {
        "mirror-image-not-turned-back": (
            "models.base:Model.combine",
            swap(
                "self.colors(views[1], settings, n, generators).flip(-1)",
                "self.colors(views[1], settings, n, generators)",
            ),
        ),
    },
    "tasks/test_regression.py::test_the_loss_is_in_the_targets_range": {
        "target-in-lab-units": (
            "tasks.base:ColorizationTask.with_target",
            calls("normalize_ab", "batch.ab"),
        ),
    },
    "tasks/test_cgan_runs.py::test_two_processes_end_with_the_same_weights": {
        "each-rank-validates-its-own-buffers": (
            "tasks.base:ColorizationTask.on_validation_start",
            returns("None"),
        ),
    },
    "tasks/test_cgan_losses.py": {
        "content-loss-without-its-weight": (
            "tasks.cgan:CGANTask._step_generator",
            swap("self.loss_weight * content", "content"),
        ),
        "content-loss-is-always-l1": (
            "tasks.cgan:CGANTask.__init__",
            swap("loss or L1()", "L1()"),
        ),
    },
    "tasks/test_cgan.py::test_accumulated_gradients_are_the_mean_of_the_batches": {
        "accumulated-gradients-are-summed": (
            "tasks.cgan:CGANTask._step",
            swap("loss / self.accumulate_grad_batches", "loss"),
        ),
        "accumulated-gradients-are-dropped": (
            "tasks.cgan:CGANTask._step",
            swap("self._begins", "True"),
        ),
    },
    "tasks/test_cgan.py::test_accumulated_batches_are_one_counted_step": {
        "the-end-of-an-epoch-is-no-step": (
            "tasks.cgan:CGANTask.training_step",
            swap("self.trainer.is_last_batch", "False"),
        ),
    },
    "networks/test_zhang.py": {
        "no-dilation": (
            "networks.encoders.zhang:ZhangEncoder.__init__",
            swap("(2, 2, 1)", "(1, 1, 1)"),
        ),
    },
    "tasks/test_cgan.py": {
        "discriminator-trains-the-generator": (
            "tasks.cgan:CGANTask._step_discriminator",
            calls("detach", "it"),
        ),
    },
    "tasks/test_average.py": {
        "average-not-exported": (
            "tasks.base:ColorizationTask.to_model",
            swap("self.inference_net", "self.net"),
        ),
        "average-not-used-for-coloring": (
            "tasks.base:ColorizationTask.inference_net",
            returns("self.net"),
        ),
        "average-updated-in-each-accumulated-batch": (
            "tasks.regression:RegressionTask.training_step",
            returns(
                "(self.update_average(),"
                " self.loss(self.predict(batch.L), self.with_target(batch)))[1]"
            ),
        ),
    },
    "tasks/test_optimization.py": {
        "coarse-levels-at-the-lowest-rate": (
            "tasks.optimization:build_optimizer",
            calls("reversed", "it"),
        ),
    },
    "models/test_whole.py": {
        "lightness-at-network-size": (
            "models.whole:add_colors",
            swap(
                "to_lightness(rgb[:, rows].unsqueeze(0).to(ab.device))",
                "to_lightness(F.avg_pool2d(rgb[:, rows].float() / 255, 5, 1, 2)[None])",
            ),
        ),
    },
}
_SAMPLING = " ".join(
    f"tasks/test_generative.py::test_{name}"
    for name in (
        "the_mean_is_frozen_at_first_and_trained_at_last",
        "before_training_a_sample_is_mean_plus_spread_times_noise",
        "samples_depend_on_seed_and_image_alone",
        "each_setting_acts",
    )
)
CONDITIONS: Rows = {
    "color/test_conditions.py": {
        "hints-stick-out-of-the-image": (
            "color.hints:hints_from",
            swap("torch.minimum(first.clamp(min=0), sides - side)", "first.clamp(min=0)"),
        ),
        "hints-are-always-as-many": (
            "color.hints:HintPoints.draw",
            swap("numbers", "numbers * 0 + 8"),
        ),
        "no-image-is-revealed": ("color.hints:simulated_hints", swap("_REVEALED", "0")),
        "hints-in-other-units": ("color.hints:hint_channels", swap("1 / SPREAD", "1.0")),
        "hints-cross-lightness": ("color.hints:diffused", swap("_BINS - 1", "0")),
        "unused-palette-colors-have-shares": (
            "color.palette:_clusters",
            calls("masked_fill", "it"),
        ),
    },
    "networks/test_conditioned.py": {
        "conditions-are-never-dropped": (
            "networks.encoders.conditioned:ConditionedEncoder.simulate",
            swap("torch.rand(4, count) >= _OFF", "torch.rand(4, count) >= 0"),
        ),
        "no-label-is-the-first-label": (
            "networks.encoders.conditioned:ConditionedEncoder._vector",
            swap("(condition.labels >= 0)", "(condition.labels >= -1)"),
        ),
        "colors-are-taken-far-from-hints": (
            "networks.colorizer:HintGate.forward",
            swap("confidence.clamp(min=_NEVER).log()", "confidence"),
        ),
    },
    "networks/test_objectives.py": {
        "velocity-reversed": (
            "networks.objectives:FlowMatching.noised",
            swap("x - noise", "noise - x"),
        ),
        "all-steps-at-the-first-time": (
            "networks.objectives:FlowMatching.sample",
            swap("step / steps", "0.0"),
        ),
        "diffusion-does-not-clip": (
            "networks.objectives:Diffusion.__init__",
            swap("LARGEST", "1e4"),
        ),
    },
    _SAMPLING: {
        "mean-trained-from-the-start": (
            "tasks.generative:GenerativeTask.on_train_epoch_start",
            swap("share >= 1 - self.joint", "True"),
        ),
        "samples-share-their-noise": (
            "models.generative:GenerativeModel.colors",
            swap(
                "torch.split(noise, max(1, _MOST // noise.shape[1]))",
                "(noise[:1].expand_as(noise),)",
            ),
        ),
        "seed-without-effect": (
            "models.base:image_seeds",
            swap("seed + crc32(each.tobytes())", "0"),
        ),
        "guidance-reversed": (
            "networks.generative:GenerativeColorizer.sample",
            swap("torch.lerp(without, predicted, guidance)", "predicted"),
        ),
        "spread-forgotten": (
            "networks.generative:GenerativeColorizer.to_colors",
            swap("encoded.spread * residual", "residual"),
        ),
    },
    "metrics/test_samples.py": {
        "energy-rewards-any-spread": (
            "metrics.samples:energy_score",
            swap("len(samples) * (len(samples) - 1)", "len(samples)"),
        ),
        "coverage-of-the-mean": ("metrics.samples:coverage", calls("amax", "it.amin(0)")),
    },
    "inference/test_jobs.py": {
        "samples-numbered-from-zero": (
            "inference.jobs:Job.targets",
            swap("range(1, self.samples + 1)", "range(self.samples)"),
        ),
    },
    "models/test_control.py": {
        "palette-shares-ignored": (
            "models.control:parse_palette",
            swap("float(share or 1)", "1.0"),
        ),
        "hints-of-transparent-pixels": (
            "models.control:_resized",
            swap("hints[3] >= _OPAQUE", "hints[3] >= 0"),
        ),
    },
    "evaluation/test_conditions.py": {
        "wrong-label-is-the-right-one": (
            "evaluation.conditions:measure_conditions",
            swap("(right + 1) % len(codes)", "right"),
        ),
        "bleeding-counted-inside": (
            "evaluation.conditions:measure_conditions",
            swap("1 - inside", "inside"),
        ),
    },
}
