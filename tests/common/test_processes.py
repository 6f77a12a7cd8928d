"""What the command sets for its process."""

import platform
import signal
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


_FAMILY = """
import multiprocessing, os, signal, sys, time
from lightning_colorize.common.processes import exit_with_parent

def work(ready):
    exit_with_parent()
    ready.put(0)
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    ready = context.SimpleQueue()
    for _ in range(2):
        context.Process(target=work, args=(ready,), daemon=True).start()
    for _ in range(2):
        ready.get()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_end_with_a_parent_that_is_killed(tmp_path, method):
    script = tmp_path / "family.py"
    script.write_text(_FAMILY)
    # Standard output ends when the last process that holds it has ended.
    words = [sys.executable, script, method]
    family = subprocess.run(words, stdout=subprocess.PIPE, timeout=60)
    assert family.returncode == -signal.SIGKILL
