"""Decoders, from features to one map."""
