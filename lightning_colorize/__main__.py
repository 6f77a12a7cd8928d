"""`python -m lightning_colorize` is the command `lightning-colorize`."""

import sys

from lightning_colorize.cli import main

sys.exit(main())
