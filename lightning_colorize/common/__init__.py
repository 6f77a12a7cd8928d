"""Errors, files, progress and provenance: what every other package may use; nothing heavy."""
