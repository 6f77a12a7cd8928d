"""Benchmarks for the `bench` command and the scripts in `benchmarks/`."""
