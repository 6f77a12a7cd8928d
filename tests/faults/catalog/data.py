"""Faults of decoding, sources, shards, the audit, the loader and the splits."""

from faults.planting import Rows, calls, constant, returns, swap

DECODING: Rows = {
    "exif-ignored": (
        "data.decoding.jpeg:orientation",
        returns("1"),
        "data/decoding/test_files.py",
    ),
    "alpha-over-black": (
        "data.decoding.pillow_modes:_over_white",
        constant("white", "black"),
        "data/decoding/test_files.py",
    ),
    "cmyk-negative": (
        "data.decoding.pillow_modes:to_srgb",
        swap(
            "image.convert('RGB')",
            "image.convert('RGB').point([v if image.mode != 'CMYK' else 255 - v"
            " for v in range(256)] * 3)",
        ),
        "data/decoding/test_files.py",
    ),
    "color-profile-ignored": (
        "data.decoding.pillow_modes:srgb_transform",
        returns("None"),
        "data/decoding/test_files.py",
    ),
    "perceptual-intent": (
        "data.decoding.pillow_modes:srgb_transform",
        swap("ImageCms.Intent.RELATIVE_COLORIMETRIC", "ImageCms.Intent.PERCEPTUAL"),
        "data/decoding/test_files.py",
    ),
    "truncated-jpeg-accepted": (
        "data.decoding.files:from_pillow",
        swap(
            "image.load()",
            "setattr(__import__('PIL.ImageFile').ImageFile, 'LOAD_TRUNCATED_IMAGES', True)"
            " or image.load()",
        ),
        "data/decoding/test_files.py",
    ),
}

SOURCES: Rows = {
    "exclude-list-ignored": (
        "data.sources.listing:listed_names",
        returns("set()"),
        "data/sources/test_folder.py",
    ),
    "validation-squares-in-training": (
        "data.sources.embedded:_windows",
        swap("free[rows, columns] = False", "pass"),
        "data/sources/test_embedded.py",
    ),
    "manifest-weights-ignored": (
        "data.sources.manifest:_row",
        swap("float(named_weight.strip() or 1)", "1.0"),
        "data/sources/test_manifest.py",
    ),
    "sha256-not-checked": (
        "data.shards.check:CheckedShards._is_intact",
        returns("True"),
        "data/shards/test_check.py",
    ),
    "newest-shard-evicted": (
        "data.shards.store:_evict",
        calls("sorted", "sorted(it, reverse=True)"),
        "data/shards/test_store.py::test_least_recently_opened_shard_is_evicted",
    ),
    "small-images-enlarged-by-pack": (
        "data.shards.writer:_resized",
        returns("resize_short_side(limit_length(rgb), size)"),
        "data/shards/test_packing.py::test_small_images_are_not_enlarged_and_long_ones_are_cropped",
    ),
    "rotated-copies-missed": (
        "data.audit.search:_turned",
        swap("descriptors[:, _SWAPPED]", "descriptors.clone()"),
        "data/audit/test_search.py",
    ),
    "candidates-not-verified": (
        "data.audit.search:agreement",
        returns("torch.ones(len(images))"),
        "data/audit/test_search.py::test_landscapes_are_not_joined",
    ),
    "cropped-copies-not-aligned": (
        "data.audit.search:agreement",
        swap("range(steps)", "range(0)"),
        "data/audit/test_search.py",
    ),
    "broken-images-not-excluded": (
        "data.audit.findings:_faults",
        swap("found.broken.items()", "()"),
        "data/audit/test_findings.py",
    ),
    "bgr-on-the-device": (
        "data.device.cached:DeviceImages.gather",
        swap("plane * color", "plane * (2 - color)"),
        "data/device/test_cached.py",
    ),
    "crop-centered-on-the-device": (
        "data.device.decode:Decoder.__call__",
        swap(
            "crop_square(resized, self.side, batch.jpegs[row].position)",
            "crop_square(resized, self.side)",
        ),
        "data/device/test_decode.py::test_decoded_squares_equal_those_of_workers",
    ),
}

LOADING: Rows = {
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
    "split-ignores-unicode-form": (
        "data.splits:name_hashes",
        swap('unicodedata.normalize("NFC", name)', "name"),
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
    "resume-off-by-one": (
        "data.loader:ImageLoader.state_dict",
        swap("self._position", "self._position - 1"),
        "data/test_loader.py",
    ),
    "evaluation-crops-a-corner": (
        "data.dataset:ImageDataset.__getitem__",
        constant(0.5, 0.0),
        "data/test_dataset.py data/test_loader.py",
    ),
    "any-share-of-broken-images-allowed": (
        "data.corrupt:CorruptImages.add",
        swap("found > max(1, self.max_share * self.total)", "False"),
        "data/test_corrupt.py",
    ),
    "validation-augmented": (
        "data.module:ColorizationDataModule.on_after_batch_transfer",
        swap("self.augmentation if self._run.training else None", "self.augmentation"),
        "data/test_module.py::test_training_augments_and_evaluation_does_not",
    ),
    "jpeg-quality-upside-down": (
        "data.damage:jpeg_compressed",
        swap("scale * quantization", "quantization / scale"),
        "data/test_damage.py",
    ),
}
