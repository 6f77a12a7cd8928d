"""Faults of color, metrics, losses, networks and tasks."""

from faults.planting import Rows, calls, constant, returns, swap

COLOR: Rows = {
    "ab-swapped": (
        "color.lab:to_lab",
        swap("x - y", "y - z"),
        "color/test_lab.py",
    ),
    "ab-scale-128": ("color.lab:", constant(110.0, 128.0), "color/test_lab.py"),
    "uint8-not-divided": (
        "color.lab:to_unit",
        swap("rgb.float() / WHITE[rgb.dtype]", "rgb.float()"),
        "data/test_augmentation.py",
    ),
    "rgb-always-clipped": (
        "color.lab:to_rgb",
        swap("rgb.clamp(0.0, 1.0) if clip else rgb", "rgb.clamp(0.0, 1.0)"),
        "color/test_lab.py",
    ),
    "lightness-not-centered": (
        "color.lab:LabScaling.normalize_L",
        returns("L / 50.0"),
        "color/test_lab.py",
    ),
    "gamut-clipped-in-rgb": (
        "color.gamut:fit_gamut",
        returns(
            "(lab := __import__('lightning_colorize.color.lab', fromlist=['x']))"
            ".to_lab(lab.to_rgb(L, ab))[1]"
        ),
        "color/test_gamut.py",
    ),
    "hue-difference-does-not-wrap": (
        "color.delta_e:_ciede2000",
        swap("math.pi * wraps", "0.0 * wraps"),
        "color/test_delta_e.py",
    ),
    "blue-rotation-missing": (
        "color.delta_e:_ciede2000",
        swap("rotation * dC * dH", "0.0 * dH"),
        "color/test_delta_e.py",
    ),
    "autocast-left-on": (
        "color.precision:full_precision",
        constant(False, True),
        "color/test_precision.py",
    ),
}

METRICS: Rows = {
    "ssim-wrong-range": (
        "metrics.formulas:ssim",
        constant(1.0, 255.0),
        "metrics/test_functional.py",
    ),
    "psnr-pooled-over-the-batch": (
        "metrics.formulas:psnr",
        swap("(1, 2, 3)", "(0, 1, 2, 3)"),
        "metrics/test_functional.py",
    ),
    "psnr-without-cap": (
        "metrics.formulas:psnr",
        calls("clamp", "it"),
        "metrics/test_collection.py",
    ),
    "metrics-of-one-rank": (
        "metrics.collection:ColorizationMetric.__init__",
        constant("cat", None),
        "metrics/test_collection.py",
    ),
    "metrics-under-autocast": (
        "metrics.functional:measure_pair",
        calls("full_precision", "torch.no_grad()"),
        "metrics/test_collection.py",
    ),
    "ab-corr-takes-the-larger": (
        "metrics.formulas:ab_corr_over_images",
        swap("torch.minimum", "torch.maximum"),
        "metrics/test_collection.py",
    ),
    "colorfulness-ratio-inverted": (
        "metrics.formulas:colorfulness_ratio_over_images",
        returns("values.mean(-1)[1] / values.mean(-1)[0].clamp(min=_COLORLESS)"),
        "metrics/test_functional.py metrics/test_training.py metrics/test_collection.py",
    ),
    "mean-baseline-is-grey": (
        "metrics.baselines:Baselines.finish",
        swap("self._sum / self.pixels.cpu()", "0 * self._sum"),
        "metrics/test_baselines.py",
    ),
}

LOSSES: Rows = {
    "huber-ignores-delta": (
        "losses.huber:Huber.forward",
        swap("self.delta", "1.0"),
        "losses/test_pixel.py",
    ),
    "loss-in-half-precision": (
        "losses.base:as_float32_pair",
        calls("promote_types", "it"),
        "losses/test_pixel.py",
    ),
    "weights-of-a-sum-ignored": (
        "losses.weighted_sum:WeightedSum.terms",
        swap("self.weights[name] * loss(prediction, batch)", "loss(prediction, batch)"),
        "losses/test_weighted_sum.py",
    ),
    "chroma-weights-not-normalized": (
        "losses.chroma_weighted:ChromaWeighted.forward",
        swap("weight / weight.mean() * error", "weight * error"),
        "losses/test_chroma_weighted.py",
    ),
    "colorfulness-not-capped": (
        "losses.colorfulness:Colorfulness.forward",
        calls("clamp", "it"),
        "losses/test_colorfulness.py",
    ),
    "perceptual-backbone-in-checkpoints": (
        "losses.perceptual:Perceptual.__init__",
        swap("self.weights = weights", "self.weights, self.net = weights, backbone()"),
        "losses/test_perceptual.py",
    ),
    "perceptual-trains-its-backbone": (
        "losses.perceptual:Perceptual.backbone",
        calls("requires_grad_", "it"),
        "losses/test_perceptual.py",
    ),
    "perceptual-backbone-of-inference-mode": (
        "losses.perceptual:Perceptual.forward",
        calls("inference_mode", "torch.enable_grad()"),
        "losses/test_perceptual.py",
    ),
    "out-of-gamut-without-gradient-at-dark-yellow": (
        "color.lab:to_linear_rgb",
        swap("z = root_z + (z - root_z).detach()", "pass"),
        "losses/test_out_of_gamut.py",
    ),
    "bce-real-for-fake": (
        "losses.adversarial.bce:BCEAdversarial.forward",
        swap(
            "1 - self.label_smoothing if real else 0.0",
            "0.0 if real else 1 - self.label_smoothing",
        ),
        "losses/test_adversarial.py",
    ),
    "generator-label-smoothed": (
        "losses.adversarial.bce:BCEAdversarial.generator",
        constant(1.0, 0.9),
        "losses/test_adversarial.py",
    ),
    "hinge-without-margin": (
        "losses.adversarial.hinge:Hinge.forward",
        constant(1, 0),
        "losses/test_adversarial.py",
    ),
}

NETWORKS: Rows = {
    "rare-colors-not-weighted-in-fit": (
        "tasks.base:ColorizationTask.on_fit_start",
        swap("first.finish()", "None"),
        "tasks/test_classification.py",
    ),
    "class-weights-not-normalized": (
        "color.bins:AbBins.finish",
        swap("weights / (smooth * weights).sum()", "weights"),
        "color/test_bins.py",
    ),
    "temperature-ignored": (
        "color.bins:AbBins.decode",
        swap("fair / temperature", "fair"),
        "color/test_bins.py",
    ),
    "vividness-reversed": (
        "networks.heads:ClassificationHead.to_ab",
        swap("1 - self.vividness", "self.vividness"),
        "networks/test_heads.py",
    ),
    "head-aligns-corners": (
        "networks.heads:RegressionHead.forward",
        constant(False, True),
        "networks/test_heads.py",
    ),
    "odd-sizes-padded-with-the-edge": (
        "networks.colorizer:pad_input",
        calls("abs", "torch.zeros(1, dtype=torch.int64)"),
        "networks/test_colorizer.py",
    ),
    "first-conv-averaged-over-rgb": (
        "networks.encoders.pretrained:fit_channels",
        swap("conv.weight.data.sum", "conv.weight.data.mean"),
        "networks/test_resnet.py",
    ),
    "imagenet-mean-forgotten": (
        "networks.encoders.pretrained:normalize_input",
        returns("(image + 1) / 2"),
        "networks/test_resnet.py",
    ),
    "missing-weights-accepted": (
        "networks.encoders.weights:load_weights",
        swap("network.load_state_dict(whole)", "network.load_state_dict(whole, strict=False)"),
        "networks/test_weights.py",
    ),
    "icnr-repeats-wrong-channels": (
        "networks.decoders.pixel_shuffle:PixelShuffleBlock.__init__",
        swap("one.repeat_interleave(4, dim=0)", "one.repeat(4, 1, 1, 1)"),
        "networks/test_decoders.py",
    ),
    "attention-not-scaled": (
        "networks.decoders.context:SelfAttention.forward",
        swap(
            "F.scaled_dot_product_attention(q, k, v)",
            "F.scaled_dot_product_attention(q, k, v, scale=1.0)",
        ),
        "networks/test_context.py::test_attention_equals_a_naive_one",
    ),
    "gate-ignores-the-decoder": (
        "networks.decoders.context:SkipGate.forward",
        swap("self.skip(skip) + self.signal(x)", "self.skip(skip) + 0 * self.signal(x)"),
        "networks/test_context.py",
    ),
    "context-of-each-pixel-alone": (
        "networks.decoders.context:GlobalContext.forward",
        calls("mean", "it"),
        "networks/test_context.py",
    ),
    "queries-see-the-coarsest-scale-only": (
        "networks.decoders.color_queries:ColorQueryDecoder.forward",
        swap("scales[number % len(scales)]", "scales[0]"),
        "networks/test_context.py",
    ),
    "patchgan-does-not-see-lightness": (
        "networks.discriminators.patch:PatchDiscriminator.forward",
        swap("torch.cat([L, ab], dim=1)", "torch.cat([0 * L, ab], dim=1)"),
        "networks/test_discriminators.py",
    ),
}

TASKS: Rows = {
    "mirror-image-not-turned-back": (
        "tasks.base:ColorizationTask.combine",
        swap("self.decode(views[1], size).flip(-1)", "self.decode(views[1], size)"),
        "evaluation/test_grid.py",
    ),
    "target-in-lab-units": (
        "tasks.base:ColorizationTask.with_target",
        calls("normalize_ab", "batch.ab"),
        "tasks/test_regression.py::test_the_loss_is_in_the_targets_range",
    ),
    "last-validation-batch-counts-like-a-full-one": (
        "tasks.base:ColorizationTask.validation_step",
        swap("self.val_loss.update(loss, len(batch))", "self.val_loss.update(loss)"),
        "tasks/test_regression.py",
    ),
    "each-rank-validates-its-own-buffers": (
        "tasks.base:ColorizationTask.on_validation_start",
        returns("None"),
        "tasks/test_cgan_runs.py::test_two_processes_end_with_the_same_weights",
    ),
    "discriminator-trains-the-generator": (
        "tasks.cgan:CGANTask._step_discriminator",
        calls("detach", "it"),
        "tasks/test_cgan.py",
    ),
    "average-not-used-for-coloring": (
        "tasks.base:ColorizationTask.inference_net",
        returns("self.net"),
        "tasks/test_average.py",
    ),
    "encoder-at-the-full-rate": (
        "tasks.optimization:build_optimizer",
        swap("group['lr'] *= group['lr_share']", "pass"),
        "tasks/test_optimization.py",
    ),
    "coarse-levels-at-the-lowest-rate": (
        "tasks.optimization:build_optimizer",
        calls("reversed", "it"),
        "tasks/test_optimization.py",
    ),
    "average-updated-in-each-accumulated-batch": (
        "tasks.regression:RegressionTask.training_step",
        returns(
            "(self.update_average(), self.loss(self.predict(batch.L), self.with_target(batch)))[1]"
        ),
        "tasks/test_average.py",
    ),
    "lightness-at-network-size": (
        "tasks.prediction:add_colors",
        swap(
            "to_lightness(rgb[:, rows].unsqueeze(0).to(ab.device))",
            "to_lightness(F.avg_pool2d(rgb[:, rows].float() / 255, 5, 1, 2)[None])",
        ),
        "inference/test_prediction.py",
    ),
    "checkpoint-runs-code": (
        "tasks.checkpoint:read_checkpoint",
        constant(True, False),
        "inference/test_colorizer.py::test_files_that_are_no_checkpoint",
    ),
}
