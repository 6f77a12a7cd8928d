"""A common model and specialists for image categories, joined by a router."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.progress import progress
from lightning_colorize.data.module import ColorizationDataModule, Split
from lightning_colorize.data.sources import Splits
from lightning_colorize.data.sources.base import GivenSplits
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.models.routed import RoutedModel
from lightning_colorize.networks.router import Router

_BATCH = 32


@dataclass(frozen=True)
class Recognition:
    """How well a router recognizes the validation images of a category."""

    category: str
    images: int
    recognized: float  # Share of images whose most probable category is correct.
    routed: float  # Share of images that are recognized with enough confidence.


def join_specialists(
    common: NetworkModel,
    specialists: Mapping[str, NetworkModel],
    categories: Sequence[str],
    confidence: float,
) -> RoutedModel:
    """Join the models into one, whose router is not fitted yet.

    The specialists are fine-tuned from `common`, whose settings become the result's. The router
    distinguishes all `categories`; `confidence` is the minimum probability for a specialist.
    """
    state = common.state_dict()
    for model in specialists.values():
        own = model.state_dict()
        same = own.keys() == state.keys() and model.description == common.description
        # Predictions are decoded with the common network's bins.
        same = same and all(torch.equal(own[n], state[n]) for n in own if ".bins." in n)
        if not same or any(own[n].shape != state[n].shape for n in own):
            raise UsageError(
                f"{model} has a different network than {common}: fine-tune it with "
                f"--model.checkpoint {common}"
            )
    channels = common.network.encoder.info.channels[-1]
    nets = {name: model.network for name, model in specialists.items()}
    router = Router(channels, categories).to(common.device)
    joined = RoutedModel(common.network, common.scaling, router, nets, confidence)
    joined.description, joined.settings = common.description, common.settings
    joined.path, joined.size, joined.baselines = common.path, common.size, common.baselines
    return joined


def fit_router(
    model: RoutedModel, splits: Splits, category: Callable[[str], str], most: int
) -> Iterator[Recognition]:
    """Fit the router to training images, and yield its results on validation images, if any.

    `splits` are the images that the common model was trained on, of which at most `most` are drawn
    at random for training. `category` maps an image's name to its category.
    """
    names = model.router.categories
    # Without a cache, because each image is read only once.
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
            found.append(model.features(batch.L.to(model.device)))
            own = (category(name) for name in batch.names)
            indices += [names.index(name) if name in names else -1 for name in own]
        return torch.cat(found), torch.tensor(indices, device=model.device)

    known, truth = features("train", most)
    counts = torch.bincount(truth, minlength=len(names)).tolist()
    if few := [name for name, count in zip(names, counts, strict=True) if count < 2]:
        raise UsageError(
            f"fewer than two training images of {', '.join(few)} were read; raise --max-images"
        )
    model.router.fit(known, truth)
    if "val" not in splits:
        return
    known, truth = features("val", None)
    probability, index = model.router(known).max(dim=1)
    for number, name in enumerate(names):
        own = truth == number
        right = (index == number)[own]
        routed = right & (probability >= model.confidence)[own]
        if len(right):
            shares = (float(part.float().mean()) for part in (right, routed))
            yield Recognition(name, len(right), *shares)
