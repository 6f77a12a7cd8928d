"""Runs: their folders and files, names, records, resuming, and lists; imports nothing heavy."""
