"""Plant the fault that LC_FAULT names, in this process and in those that it starts."""

import os
import sys

if name := os.environ.get("LC_FAULT"):
    sys.path.insert(0, os.environ["LC_FAULTS"])
    from faults.planting import install

    install(name)
