import torch

from lightning_colorize.networks.router import Router


def test_a_category_with_few_images_counts_as_much_as_others():
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(400, 1, generator=generator)
    few = torch.randn(20, 1, generator=generator) + 2
    router = Router(1, ["many", "few"])
    router.fit(torch.cat([many, few]), torch.tensor([0] * 400 + [1] * 20))
    probabilities = router(torch.tensor([[-1.0], [1.0], [3.0]]))
    assert probabilities.argmax(1)[[0, 2]].tolist() == [0, 1]
    assert 0.3 < probabilities[1, 0] < 0.7  # halfway
