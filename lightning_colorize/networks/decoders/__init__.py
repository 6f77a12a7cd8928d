"""Decoders: features to one map."""
