"""Discriminators, from (L, ab) to logits."""
