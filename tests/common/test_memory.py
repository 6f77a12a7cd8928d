"""A lack of memory is told from other errors that speak of memory."""

import pytest
import torch

from lightning_colorize.common.memory import is_out_of_memory, require_out_of_memory

LACKS = [
    MemoryError(),
    torch.OutOfMemoryError("Allocation on device"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("unable to mmap 9 bytes from file </a>: Cannot allocate memory (12)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 9"),
]
OTHERS = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("unsupported operation: more than one element shares one memory location"),
    RuntimeError("Could not infer the memory format"),
    ValueError("no"),
]


@pytest.mark.parametrize("error", [*LACKS, *OTHERS])
def test_a_lack_of_memory(error):
    assert is_out_of_memory(error) == (error in LACKS)
    if error in LACKS:
        require_out_of_memory(error)
    else:
        with pytest.raises(type(error)):
            require_out_of_memory(error)
