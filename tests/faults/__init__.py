"""Named faults, each of which some test has to notice: `uv run python -m tests.faults`."""
