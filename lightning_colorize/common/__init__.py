"""Errors, files, progress and provenance, for all other packages; imports nothing heavy."""
