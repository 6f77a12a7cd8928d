"""Whole fp32 for colour, whatever is switched on around it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_colorize.color import full_precision, set_tf32, to_lab, to_rgb
from lightning_colorize.data.augmentation import Augmentation


def settings():
    """What torch says of matrix products and of convolutions."""
    backends = torch.backends
    return backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision


ON, OFF = ("tf32", "tf32"), ("ieee", "ieee")


@pytest.fixture
def tf32():
    set_back = set_tf32(True)
    yield
    set_back()


def test_it_is_switched_on_and_off_and_back():
    # Torch's own default: convolutions in TF32, products not.
    before = settings()
    assert before[1] == "tf32"
    set_back = set_tf32(True)
    assert settings() == ON
    set_tf32(False)
    assert settings() == OFF
    set_back()
    assert settings() == before
    # Lightning reads the older name, when a Trainer finds its GPU.
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("tf32")
def test_within_full_precision_nothing_is_rounded_and_after_it_all_is_as_before():
    with full_precision(torch.zeros(1)):
        assert settings() == OFF
        with full_precision(torch.zeros(1)):
            pass
        assert settings() == OFF
    assert settings() == ON
    with pytest.raises(ZeroDivisionError), full_precision(torch.zeros(1)):
        raise ZeroDivisionError
    assert settings() == ON


def test_autocast_is_off_within_and_on_again_after():
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(torch.zeros(1)):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


class Operations(TorchDispatchMode):
    """Keeps the names of what is called on tensors."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


# What tensor cores do, and so autocast and TF32 lower.
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "mv", "dot", "convolution", "cudnn_convolution"}
PRODUCTS |= {"linear", "matmul", "einsum", "affine_grid_generator", "mkldnn_convolution"}


def test_nothing_in_the_conversion_can_be_lowered():
    """Kornia's is a convolution on GPUs, where a test on a CPU would not see what is lost."""
    rgb = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    augmentation = Augmentation(16, rotation=5.0, grey_jitter=0.5)
    draw = augmentation.draw(rgb.shape)
    with Operations() as called:
        to_rgb(*to_lab(rgb))
        augmentation(rgb, draw)
    assert {"exp2", "grid_sampler_2d"} <= called.names
    assert not called.names & PRODUCTS
    with Operations() as called:
        torch.nn.functional.conv2d(rgb.float(), torch.ones(1, 3, 1, 1))
        torch.einsum("oi,bihw->bohw", torch.ones(3, 3), rgb.float())
    assert called.names & PRODUCTS == {"convolution", "bmm"}
