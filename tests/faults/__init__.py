"""Named faults, each of which a test must detect: `uv run python -m tests.faults`."""
