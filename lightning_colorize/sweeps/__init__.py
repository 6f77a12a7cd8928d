"""Sweeps: a file in W&B's schema, run by an engine; trials are processes with a run folder each."""
