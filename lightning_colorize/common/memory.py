"""Errors that are a lack of memory."""

import torch

# A CPU's and Apple's lack is a mere RuntimeError of torch, and any of ONNX Runtime too.
_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "not enough memory",
    "_status_alloc_failed",  # of cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is a lack of memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(text in str(error).lower() for text in _TEXTS)


def require_out_of_memory(error: Exception) -> None:
    """Raise an error that is not a lack of memory."""
    if not is_out_of_memory(error):
        raise error
