"""Reading any image file, sources, splits, and the one `ColorizationDataModule`."""
