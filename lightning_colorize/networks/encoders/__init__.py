"""Encoders: grey images to features."""
