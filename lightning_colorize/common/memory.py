"""Detection of out-of-memory errors."""

import torch

# torch raises OutOfMemoryError on CUDA only. CPUs, Apple's GPUs and ONNX Runtime raise a plain
# RuntimeError, recognizable only by its text; Lightning's `is_oom_error` recognizes a third of
# these.
_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "not enough memory",
    "_status_alloc_failed",  # of cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is an out-of-memory error."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(text in str(error).lower() for text in _TEXTS)


def require_out_of_memory(error: Exception) -> None:
    """Re-raise an error unless it is an out-of-memory error."""
    if not is_out_of_memory(error):
        raise error
