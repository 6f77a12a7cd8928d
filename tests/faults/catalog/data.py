"""Faults of decoding, sources, shards, the audit, the loader and the splits."""

from faults.planting import Rows, calls, returns, swap

DECODING: Rows = {
    "data/decoding/test_files.py": {
        "exif-ignored": ("data.decoding.jpeg:orientation", returns("1")),
        "cmyk-negative": (
            "data.decoding.pillow_modes:to_srgb",
            swap(
                "image.convert('RGB')",
                "image.convert('RGB').point([v if image.mode != 'CMYK' else 255 - v"
                " for v in range(256)] * 3)",
            ),
        ),
        "color-profile-ignored": ("data.decoding.pillow_modes:srgb_transform", returns("None")),
        "perceptual-intent": (
            "data.decoding.pillow_modes:srgb_transform",
            swap("ImageCms.Intent.RELATIVE_COLORIMETRIC", "ImageCms.Intent.PERCEPTUAL"),
        ),
        "truncated-jpeg-accepted": (
            "data.decoding.files:from_pillow",
            swap(
                "image.load()",
                "setattr(__import__('PIL.ImageFile').ImageFile, 'LOAD_TRUNCATED_IMAGES', True)"
                " or image.load()",
            ),
        ),
    },
}
SOURCES: Rows = {
    "data/sources/test_sources.py": {
        "exclude-list-ignored": ("data.sources.listing:listed_names", returns("set()")),
    },
    "data/sources/test_embedded.py": {
        "validation-squares-in-training": (
            "data.sources.embedded:_windows",
            swap("free[rows, columns] = False", "pass"),
        ),
    },
    "data/sources/test_manifest.py": {
        "manifest-weights-ignored": (
            "data.sources.manifest:_row",
            swap("float(written or 1)", "1.0"),
        ),
    },
    "data/sources/test_containers.py::test_a_single_split_is_divided_as_a_folder": {
        "container-rows-not-mapped": (
            "data.image_set:EncodedImages.encoded",
            returns("self.fetch(index, self.names[index])"),
        ),
    },
    "data/sources/test_containers.py::test_labels_and_texts": {
        "no-class-is-the-last-class": (
            "data.sources.huggingface:_cells",
            swap("v is None or v < 0", "v is None"),
        ),
    },
    "data/sources/test_containers.py::test_batches_equal_those_of_the_folder": {
        "tar-of-its-neighbor": (
            "data.sources.webdataset:_Members.__call__",
            calls("searchsorted", "np.searchsorted(self.ends, row)"),
        ),
    },
    "data/sources/test_containers.py::test_an_index_is_kept_for_the_same_tar_only": {
        "index-of-a-replaced-tar": (
            "data.sources.webdataset:_read_index",
            calls("ukey", "None"),
        ),
    },
    "data/sources/test_containers.py::test_damaged_tars_are_refused": {
        "cut-tar-accepted": (
            "data.sources.webdataset:_index_of",
            swap("file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE)", "False"),
        ),
    },
    "data/sources/test_containers.py::test_tars_at_urls": {
        "unreachable-tar-skipped": (
            "data.sources.webdataset:_Members.__call__",
            swap("advice = 'resume the run when it can be read'", "advice = None"),
        ),
    },
    "data/shards/test_check.py": {
        "sha256-not-checked": ("data.shards.check:CheckedShards._is_intact", returns("True")),
    },
    "data/shards/test_store.py::test_least_recently_opened_shard_is_evicted": {
        "newest-shard-evicted": (
            "data.shards.store:_evict",
            calls("sorted", "sorted(it, reverse=True)"),
        ),
    },
    ("data/shards/test_packing.py::test_small_images_are_not_enlarged_and_long_ones_are_cropped"): {
        "small-images-enlarged-by-pack": (
            "data.shards.writer:_resized",
            returns("resize_short_side(limit_length(rgb), size)"),
        ),
    },
    "data/audit/test_search.py": {
        "rotated-copies-missed": (
            "data.audit.search:_turned",
            swap("descriptors[:, _SWAPPED]", "descriptors.clone()"),
        ),
        "cropped-copies-not-aligned": (
            "data.audit.search:agreement",
            swap("range(steps)", "range(0)"),
        ),
    },
    "data/audit/test_search.py::test_landscapes_are_not_joined": {
        "candidates-not-verified": (
            "data.audit.search:agreement",
            returns("torch.ones(len(images))"),
        ),
    },
    "data/audit/test_findings.py": {
        "broken-images-not-excluded": (
            "data.audit.findings:_faults",
            swap("found.broken.items()", "()"),
        ),
        "pale-images-not-excluded": (
            "data.audit.findings:_faults",
            swap("found.pale", "()"),
        ),
        "pale-by-signed-differences": (
            "data.audit.features:audit_image",
            calls("colorfulness", "colorfulness(it)"),
        ),
    },
}
LOADING: Rows = {
    "data/test_module.py::test_a_cache_that_all_processes_together_cannot_hold_is_refused": {
        "memory-of-one-process-only": (
            "data.cache:fits_in_memory",
            swap("share * machine_memory() / processes", "share * machine_memory()"),
        ),
    },
    "data/test_condition.py": {
        "labels-of-unread-images": (
            "data.cache:CachedImages.__init__",
            swap("images.notes.take(self._indices)", "images.notes"),
        ),
        "labels-not-reordered-by-pack": (
            "data.shards.plan:make_plan",
            swap("images.notes.take(order)", "images.notes"),
        ),
    },
    "data/test_loader.py": {
        "epochs-not-shuffled": ("data.order:AnyOrder.shuffled", returns("np.arange(length)")),
        "resume-off-by-one": (
            "data.loader:ImageLoader.state_dict",
            swap("self._position", "self._position - 1"),
        ),
    },
    "data/test_splits.py": {
        "split-ignores-unicode-form": (
            "data.splits:name_hashes",
            swap('unicodedata.normalize("NFC", name)', "name"),
        ),
        "empty-split-allowed": (
            "data.splits:_by_share",
            swap("len(chosen[split]) == 0 and spare > 0", "False"),
        ),
        "subset-ignores-the-seed": (
            "data.splits:random_subset",
            swap('f"subset {seed}"', '"subset"'),
        ),
    },
    "data/test_corrupt.py": {
        "any-share-of-broken-images-allowed": (
            "data.corrupt:CorruptImages.add",
            swap("found > max(1, self.max_share * self.total)", "False"),
        ),
    },
    "data/test_damage.py": {
        "scratches-missing": ("data.damage:aged", swap("there < strength", "there < 0")),
        "paper-not-faded": ("data.damage:aged", swap("30.0", "0.0")),
        "copies-differ-each-time": (
            "data.augmentation:old_copy",
            calls("manual_seed", "None"),
        ),
    },
    "data/test_augmentation.py": {
        "recolored-outside-srgb": (
            "data.augmentation:_recolored",
            swap("fit_gamut", "(lambda L, ab: ab)"),
        ),
        "mixed-with-itself": (
            "data.augmentation:Augmentation.forward",
            swap("x.roll(1, dims=0)", "x"),
        ),
        "hue-not-turned": ("data.augmentation:_recolored", swap("y * a + x * b", "x * b")),
        "color-jitter-never-drawn": (
            "data.augmentation:_draw_color",
            returns("torch.eye(2)[[0] * count]"),
        ),
    },
    "data/test_module.py::test_training_augments_and_evaluation_does_not": {
        "validation-augmented": (
            "data.module:ColorizationDataModule.on_after_batch_transfer",
            swap("self.augmentation if self._run.training else None", "self.augmentation"),
        ),
    },
    "data/device/test_decode.py::test_decoded_squares_equal_those_of_workers": {
        "crop-centered-on-the-device": (
            "data.device.decode:DeviceDecoder.__call__",
            swap(
                "crop_square(resized, self.dataset.side, batch.jpegs[row].position)",
                "crop_square(resized, self.dataset.side)",
            ),
        ),
    },
}
