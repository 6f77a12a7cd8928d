"""The faults: what somebody could get wrong, and the tests that must notice."""

from faults.planting import Change, Fault, calls, constant, rename, returns, swap

_Rows = dict[str, tuple[str, Change, str]]

_COLOR: _Rows = {
    "ab-swapped": (
        "color.lab:to_lab",
        swap("x - y", "y - z"),
        "color/test_lab.py",
    ),
    "ab-scale-128": ("color.lab:", constant(110.0, 128.0), "color/test_lab.py"),
    "uint8-not-divided": ("color.lab:to_unit", constant(255.0, 1.0), "color/test_lab.py"),
    "uint8-divided-by-256": ("color.lab:to_unit", constant(255.0, 256.0), "color/test_lab.py"),
    "integers-taken-for-floats": (
        "color.lab:to_unit",
        calls("is_floating_point", "True"),
        "color/test_lab.py",
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
            "__import__('lightning_colorize.color.lab', fromlist=['x']).to_lab(to_rgb(L, ab))[1]"
        ),
        "color/test_gamut.py",
    ),
    "gamut-shrinks-everything": (
        "color.gamut:_outside",
        returns("torch.ones_like(L, dtype=torch.bool)"),
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

_METRICS: _Rows = {
    "ssim-wrong-range": (
        "metrics.functional:_ssim",
        constant(1.0, 255.0),
        "metrics/test_functional.py",
    ),
    "psnr-pooled-over-the-batch": (
        "metrics.functional:_psnr",
        swap("(1, 2, 3)", "(0, 1, 2, 3)"),
        "metrics/test_functional.py",
    ),
    "psnr-without-cap": (
        "metrics.functional:_psnr",
        calls("clamp", "it"),
        "metrics/test_functional.py",
    ),
    "mse-of-the-sum": (
        "metrics.functional:measure",
        swap("(ab_hat - ab).square()", "(ab_hat - ab).abs()"),
        "metrics/test_functional.py",
    ),
    "colorfulness-without-opponents": (
        "metrics.functional:colorfulness",
        constant(0.3, 0.0),
        "metrics/test_functional.py",
    ),
    "metrics-under-autocast": (
        "metrics.functional:measure",
        rename("full_precision", "torch.no_grad"),
        "metrics/test_collection.py",
    ),
    "ab-corr-takes-the-larger": (
        "metrics.collection:HueCorrelation.compute",
        rename("minimum", "maximum"),
        "metrics/test_collection.py",
    ),
    "colorfulness-ratio-inverted": (
        "metrics.collection:ColorfulnessRatio.compute",
        swap("values.colorfulness.mean() / truth", "truth / values.colorfulness.mean()"),
        "metrics/test_collection.py",
    ),
    "mean-baseline-is-grey": (
        "metrics.baselines:Baselines.finish",
        swap("self._sum / self.pixels.cpu()", "0 * self._sum"),
        "metrics/test_baselines.py",
    ),
}

_LOSSES: _Rows = {
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
    "lsgan-boundary-at-0": (
        "losses.adversarial.lsgan:LSGAN",
        constant(0.5, 0.0),
        "losses/test_adversarial.py",
    ),
}

_DATA: _Rows = {
    "every-rank-same-images": (
        "data.order:AnyOrder.part",
        returns("slice(0, None, ranks)"),
        "data/test_loader.py",
    ),
    "ranks-share-a-shard-part": (
        "data.order:ShardOrder.part",
        returns("slice(0, (rank + 1) * length // ranks)"),
        "data/test_order.py",
    ),
    "epochs-not-shuffled": (
        "data.order:AnyOrder.shuffled",
        returns("np.arange(length)"),
        "data/test_loader.py",
    ),
    "shards-not-shuffled": (
        "data.order:ShardOrder.shuffled",
        swap("random.permutation(len(self.lengths))", "np.arange(len(self.lengths))"),
        "data/test_order.py",
    ),
    "split-ignores-unicode-form": (
        "data.splits:name_hashes",
        swap('unicodedata.normalize("NFC", name)', "name"),
        "data/test_splits.py",
    ),
    "split-hash-ignores-the-salt": (
        "data.splits:name_hashes",
        swap("salt.encode()", "b''"),
        "data/test_splits.py",
    ),
    "split-by-position": (
        "data.splits:_by_count",
        swap("np.argsort(hashes, kind='stable')", "np.arange(len(hashes))"),
        "data/test_splits.py",
    ),
    "empty-split-allowed": (
        "data.splits:_by_share",
        swap("len(chosen[split]) == 0 and spare > 0", "False"),
        "data/test_splits.py",
    ),
    "subset-ignores-the-seed": (
        "data.splits:random_subset",
        swap('f"subset {seed}"', '"subset"'),
        "data/test_splits.py",
    ),
}

_NETWORKS: _Rows = {
    "head-enlarges-by-nearest": (
        "networks.heads:RegressionHead.forward",
        swap(
            "F.interpolate(ab, size=size, mode='bilinear', align_corners=False)",
            "F.interpolate(ab, size=size, mode='nearest')",
        ),
        "networks/test_heads.py",
    ),
    "head-aligns-corners": (
        "networks.heads:RegressionHead.forward",
        constant(False, True),
        "networks/test_heads.py",
    ),
    "targets-in-0-1-read-as-minus-1-1": (
        "networks.heads:RegressionHead.to_ab",
        returns("prediction"),
        "networks/test_heads.py",
    ),
    "deconv-head-without-relu": (
        "networks.heads:DeconvHead.forward",
        calls("relu", "it"),
        "networks/test_heads.py",
    ),
    "odd-sizes-padded-with-zeros": (
        "networks.colorizer:Colorizer.forward",
        constant("replicate", "constant"),
        "networks/test_colorizer.py",
    ),
    "first-conv-averaged-over-rgb": (
        "networks.encoders.pretrained:to_one_channel",
        rename("sum", "mean"),
        "networks/test_resnet.py",
    ),
    "imagenet-mean-forgotten": (
        "networks.encoders.pretrained:normalize_grey",
        returns("(L + 1) / 2"),
        "networks/test_resnet.py",
    ),
    "weights-of-other-shape-loaded": (
        "networks.encoders.weights:check_weights",
        swap("given[k].shape != v.shape", "False"),
        "networks/test_weights.py",
    ),
    "random-weights-without-a-word": (
        "networks.encoders.weights:obtain_weights",
        swap("if not pretrained:\n    return None, 'random'", "return None, 'random'"),
        "networks/test_weights.py",
    ),
    "icnr-repeats-wrong-channels": (
        "networks.decoders.pixel_shuffle:PixelShuffleBlock.__init__",
        swap("one.repeat_interleave(4, dim=0)", "one.repeat(4, 1, 1, 1)"),
        "networks/test_decoders.py",
    ),
    "patchgan-does-not-see-lightness": (
        "networks.discriminators.patch:PatchDiscriminator.forward",
        swap("torch.cat([L, ab], dim=1)", "torch.cat([0 * L, ab], dim=1)"),
        "networks/test_discriminators.py",
    ),
    "unet-normalizes-its-ends": (
        "networks.encoders.unet:UNetEncoder.__init__",
        swap("0 < level < depth - 1", "True"),
        "networks/test_unet.py",
    ),
}

_GROUPS = (_COLOR, _METRICS, _LOSSES, _DATA, _NETWORKS)

FAULTS = [
    Fault(name, target, change, tuple(tests.split()))
    for group in _GROUPS
    for name, (target, change, tests) in group.items()
]
