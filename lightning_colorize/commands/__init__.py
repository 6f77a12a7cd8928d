"""One module a command: its help, its arguments, and `run`."""
