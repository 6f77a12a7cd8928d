"""Encoders, from grey images to features."""
