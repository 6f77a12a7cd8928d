"""Discriminators: (L, ab) to logits."""
