"""One module per command, with its help, its arguments, and `run`."""
