"""Reading any picture file, sources, splits, and the one `ColorizationDataModule`."""
