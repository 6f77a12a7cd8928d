import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.losses import L1, BCEAdversarial
from lightning_colorize.networks import ConvEncoder, PatchDiscriminator, UNetEncoder
from lightning_colorize.tasks import CGANTask, RegressionTask
from lightning_colorize.training.callbacks import Throughput
from lightning_colorize.training.callbacks.flops import StepCounter, peak_flops
from tests.tasks.conftest import make_gan, make_trainer

CUDA = torch.device("cuda")
CONVOLUTIONS = nn.Conv2d | nn.ConvTranspose2d


@pytest.fixture
def data(photo_folder):
    """Three batches of four images an epoch, augmented."""
    return ColorizationDataModule(str(photo_folder), size=32, batch_size=4, num_workers=0, seed=0)


def make_regression():
    torch.manual_seed(0)
    return RegressionTask(ConvEncoder(widths=[4, 8]), L1())


def trained(task, data, *callbacks, **options):
    """Train and return the trainer."""
    defaults = {"log_every_n_steps": 50, "limit_val_batches": 0, "max_epochs": 1}
    trainer = make_trainer(callbacks=[*callbacks], **defaults | options)
    trainer.fit(task, data)
    return trainer


def forward_flops(network, *inputs):
    """Return the FLOPs of each convolution in a forward pass, in order, by the formula."""
    flops = []

    def note(module, given, result):
        # A weight is multiplied and added at each place of the map that the kernel is laid on;
        # each of a weight's slices along its first axis belongs to one channel of that map.
        places = given[0] if isinstance(module, nn.ConvTranspose2d) else result
        flops.append(2 * module.weight[0].numel() * places.numel())

    handles = [
        module.register_forward_hook(note)
        for module in network.modules()
        if isinstance(module, CONVOLUTIONS)
    ]
    network(*inputs)
    for handle in handles:
        handle.remove()
    return flops


def both_ways(flops):
    """A forward pass, and the gradients of all weights and of all maps but the image."""
    return 3 * sum(flops) - flops[0]


def counted(task, data, **options):
    throughput = Throughput()
    trained(task, data, throughput, **options)
    return {kind.partition(") ")[2]: flops for kind, flops in throughput.step_flops.items()}


def test_a_regressions_step_is_forward_and_backward(data):
    flops = forward_flops(make_regression().net, torch.zeros(4, 1, 32, 32))
    assert counted(make_regression(), data) == {"None": both_ways(flops)}


def test_a_gans_step_is_all_that_its_networks_do(data):
    images, colors = torch.zeros(4, 1, 32, 32), torch.zeros(4, 2, 32, 32)
    gan = make_gan()
    generator = forward_flops(gan.net, images)
    judge = forward_flops(gan.discriminator, images, colors)
    own_step = 2 * both_ways(judge)  # true and predicted colours
    # The generator's gradient goes through the discriminator, whose weights want none.
    through = both_ways(generator) + 2 * sum(judge)
    found = counted(make_gan(discriminator_every_n_batches=2), data)
    assert found == {
        "('BOTH', True, True)": own_step + through,
        "('BOTH', True, False)": through,
    }
    alone = counted(make_gan(generator_epochs=1, discriminator_epochs=1), data, max_epochs=2)
    assert alone == {
        "('GENERATOR', True, False)": both_ways(generator),
        "('DISCRIMINATOR', False, True)": sum(generator) + own_step,
    }


def make_forgetful_gan():
    """Return a GAN with dropout, two kinds of norm, an average, a stage and skipped steps."""
    torch.manual_seed(0)
    return CGANTask(
        UNetEncoder(32, depth=5, width=4),
        PatchDiscriminator(layers=1, width=4, norm="spectral"),
        BCEAdversarial(),
        generator_epochs=1,
        discriminator_every_n_batches=2,
    )


class Dice(Callback):
    """Notes the random state after each batch."""

    def __init__(self):
        self.states = []

    def on_train_batch_end(self, *_):
        self.states.append(torch.get_rng_state())


@pytest.mark.parametrize(
    ("make", "precision"), [(make_regression, "bf16-mixed"), (make_forgetful_gan, "32-true")]
)
def test_counting_changes_no_bit(data, make, precision):
    def run(*callbacks):
        task, dice = make(), Dice()
        trainer = trained(task, data, *callbacks, dice, max_epochs=2, precision=precision)
        states = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
        kept = [v for state in states for slot in state.values() for v in slot.values()]
        gradients = [p.grad for p in task.parameters() if p.grad is not None]
        return [*task.state_dict().values(), *kept, *gradients, *dice.states]

    without, with_ = run(), run(Throughput())
    assert len(without) == len(with_) > 20
    assert all(torch.equal(a, b) for a, b in zip(without, with_, strict=True))


def test_an_end_in_a_counted_batch_leaves_no_counter_behind(data):
    class Ends(Callback):
        def on_train_batch_start(self, *_):
            assert _get_current_dispatch_mode() is not None
            raise RuntimeError("ended")

    with pytest.raises(RuntimeError, match="ended"):
        trained(make_regression(), data, Throughput(), Ends())
    assert _get_current_dispatch_mode() is None


@pytest.mark.slow
def test_a_compiled_network_is_counted_as_it_is_written():
    calls = []

    def backend(graph, inputs):
        def call(*given):
            calls.append(len(given))
            return graph(*given)

        return call

    net, counter = nn.Conv2d(1, 2, 3, bias=False), StepCounter()
    net.compile(backend=backend)
    images = torch.zeros(1, 1, 5, 5)
    counter.start(net)
    net(images).sum().backward()
    assert counter.stop() == 2 * 2 * (2 * 9 * 9)
    assert not calls
    net(images)
    assert calls


def test_a_cpu_has_no_peak_that_is_known():
    assert peak_flops(torch.device("cpu"), "32-true") is None


@pytest.fixture
def gpu(monkeypatch):
    """Return a function that makes torch tell of a GPU of a name."""

    def pretend(name, capability=(9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    return pretend


@pytest.fixture
def convolutions():
    """The switch of their arithmetic, set back after the test."""
    switch = torch.backends.cudnn.conv
    before = switch.fp32_precision
    yield switch
    switch.fp32_precision = before


@pytest.mark.parametrize(
    ("name", "capability", "switch", "precision", "teraflops"),
    [
        # Dense, from the data sheets, which print twice as much, for sparse matrices, in front.
        ("NVIDIA H200", (9, 0), "tf32", "bf16-mixed", 989.4),
        ("NVIDIA H200", (9, 0), "tf32", "32-true", 494.7),
        ("NVIDIA H200", (9, 0), "ieee", "32-true", 66.9),
        ("NVIDIA L40S", (8, 9), "tf32", "16-mixed", 362),
        # From Lightning's table.
        ("NVIDIA A100-SXM4-80GB", (8, 0), "tf32", "bf16-mixed", 312),
        ("NVIDIA A100-SXM4-80GB", (8, 0), "tf32", "32-true", 156),
        ("NVIDIA A100-SXM4-80GB", (8, 0), "tf32", "64-true", 9.7),
        # Too old for TF32.
        ("Tesla T4", (7, 5), "tf32", "32-true", 8.1),
    ],
)
def test_the_peak_is_the_precisions(
    gpu, convolutions, name, capability, switch, precision, teraflops
):
    convolutions.fp32_precision = switch
    gpu(name, capability)
    assert peak_flops(CUDA, precision) == pytest.approx(teraflops * 1e12)


def test_an_unknown_device_has_no_peak(gpu):
    gpu("NVIDIA Something")
    with pytest.warns(UserWarning, match="Something"):
        assert peak_flops(CUDA, "bf16-mixed") is None
