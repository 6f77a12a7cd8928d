"""Work on the next batch while the one before is used."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

import torch

In = TypeVar("In")
Out = TypeVar("Out")


def ahead(
    batches: Iterator[In],
    work: Callable[[In], Out],
    device: torch.device,
    hand_over: Callable[[Out, "torch.cuda.Stream"], None],
) -> Iterator[Out]:
    """Yield what is made of each batch, one ahead, by a thread and on a GPU in a stream of its own.

    Args:
        batches: Asked by the thread alone.
        work: Makes something of a batch.
        device: Where it works.
        hand_over: Told, on a GPU, which stream uses what was made from now on.
    """
    on_gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]

    def step() -> Out | None:
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            batch = next(batches, None)
            return None if batch is None else work(batch)

    with ThreadPoolExecutor(1, "decode") as thread:
        coming = thread.submit(step)
        while (made := coming.result()) is not None:
            if stream is not None:
                user = torch.cuda.current_stream(device)
                user.wait_stream(stream)
                hand_over(made, user)
            coming = thread.submit(step)
            yield made
