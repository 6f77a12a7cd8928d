"""Benchmarks, for `bench`, `reproduce` and the scripts of `benchmarks/`."""
