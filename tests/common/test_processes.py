"""What the command sets for its process."""

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import resource, sys, numpy
from lightning_colorize.common.processes import keep_freed_memory
if sys.argv[1:]:
    keep_freed_memory()
for step in range(6):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_large_arrays_reuse_freed_memory():
    new, kept = (
        int(subprocess.run([sys.executable, "-c", _SCRIPT, *words], capture_output=True).stdout)
        for words in ([], ["kept"])
    )
    assert kept < new / 10
