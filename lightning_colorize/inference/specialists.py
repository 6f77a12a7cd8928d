"""A model and specialists for categories of images, joined by a router."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_colorize.common.class_paths import Trust, path_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.progress import progress
from lightning_colorize.data.module import ColorizationDataModule, Split
from lightning_colorize.data.sources import Splits
from lightning_colorize.data.sources.base import GivenSplits
from lightning_colorize.inference.colorizer import Colorizer
from lightning_colorize.networks.router import Router
from lightning_colorize.tasks.checkpoint import CLASS_PATH, rebuild_task
from lightning_colorize.tasks.predictor import predictor_arguments, predictor_state
from lightning_colorize.tasks.routed import RoutedPredictor

_BATCH = 32


@dataclass(frozen=True)
class Recognition:
    """How well a router recognizes the validation images of a category.

    Attributes:
        category: Its name.
        images: Number of its images.
        recognized: Share of them with the category as the most probable one.
        routed: Share of them that are recognized with enough confidence.
    """

    category: str
    images: int
    recognized: float
    routed: float


def join_specialists(
    common: Colorizer,
    specialists: Mapping[str, Colorizer],
    categories: Sequence[str],
    confidence: float,
    trust: Trust,
) -> Colorizer:
    """Return one model of all, whose router is not fitted yet.

    Args:
        common: The model of all categories, with the decoding of the result.
        specialists: By category; fine-tuned from `common`.
        categories: All that the router distinguishes.
        confidence: Least probability of a category for its specialist.
        trust: Classes that the common model may import.

    Raises:
        UsageError: If a specialist has another network than the common model, or other bins.
    """
    state, arguments = predictor_state(common.task), predictor_arguments(common.task)
    joined = dict(state)
    for index, model in enumerate(specialists.values()):
        own = predictor_state(model.task)
        same = own.keys() == state.keys() and predictor_arguments(model.task) == arguments
        # Weights are decoded by the common network's bins.
        same = same and all(torch.equal(own[n], state[n]) for n in own if ".bins." in n)
        if not same or any(own[n].shape != state[n].shape for n in own):
            raise UsageError(
                f"{model.path} has another network than {common.path}: fine-tune it with "
                f"--model.checkpoint {common.path}"
            )
        nets = {n.removeprefix("net."): v for n, v in own.items() if n.startswith("net.")}
        joined |= {f"specialists.{index}.{name}": value for name, value in nets.items()}
    channels = common.task.net.encoder.info.channels[-1]
    joined |= {f"router.{n}": v for n, v in Router(channels, categories).state_dict().items()}
    arguments |= {
        CLASS_PATH: path_of(RoutedPredictor),
        "categories": list(categories),
        "named": list(specialists),
        "confidence": confidence,
    }
    content = {"hyper_parameters": arguments, "state_dict": joined}
    task = rebuild_task(common.path, content, RoutedPredictor, trust).eval()
    model = replace(common, task=task.to(common.task.device))
    model.set_decoding(**common.decoding)
    return model


def fit_router(
    model: Colorizer, splits: Splits, category: Callable[[str], str], most: int
) -> Iterator[Recognition]:
    """Fit the router to training images, and yield how it does on the validation images, if any.

    Args:
        model: As `join_specialists` returns it.
        splits: The images of the common model.
        category: An image's name to its category.
        most: Number of training images, drawn at random if there are more.

    Raises:
        UsageError: If a category has fewer than two images among them.
    """
    task = model.task
    assert isinstance(task, RoutedPredictor)
    names = task.router.categories
    # Without a cache, as each image is read once.
    data = ColorizationDataModule(
        source=GivenSplits(splits), size=model.size, batch_size=_BATCH, cache="never"
    )
    data.setup()

    @torch.no_grad()  # the router trains on them
    def features(split: Split, limit: int | None) -> tuple[Tensor, Tensor]:
        count = min(limit or len(splits[split]), len(splits[split]))
        found, indices = [], []
        batches = data.color_batches(split, limit)
        for batch in progress(batches, -(-count // _BATCH), f"reading {split}"):
            found.append(task.features(batch.L.to(task.device)))
            own = (category(name) for name in batch.names)
            indices += [names.index(name) if name in names else -1 for name in own]
        return torch.cat(found), torch.tensor(indices, device=task.device)

    known, truth = features("train", most)
    counts = torch.bincount(truth, minlength=len(names)).tolist()
    if few := [name for name, count in zip(names, counts, strict=True) if count < 2]:
        raise UsageError(
            f"fewer than two training images of {', '.join(few)} were read; raise --max-images"
        )
    task.router.fit(known, truth)
    if "val" not in splits:
        return
    known, truth = features("val", None)
    probability, index = task.router(known).max(dim=1)
    for number, name in enumerate(names):
        own = truth == number
        right = (index == number)[own]
        routed = right & (probability >= task.confidence)[own]
        if len(right):
            shares = (float(part.float().mean()) for part in (right, routed))
            yield Recognition(name, len(right), *shares)
