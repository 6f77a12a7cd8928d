"""WebDataset tars: packing, index, download cache with checksums, and random access to images."""
