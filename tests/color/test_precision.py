"""Color in fp32 under autocast and TF32."""

import pytest
import torch
from kornia.color import rgb_to_lab
from torch.fx.experimental.proxy_tensor import make_fx

from lightning_colorize.color import full_precision, set_tf32, to_lab, to_rgb
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions


def settings():
    backends = torch.backends
    return backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision


ON, OFF = ("tf32", "tf32"), ("ieee", "ieee")


@pytest.fixture
def tf32():
    restore = set_tf32(True)
    yield
    restore()


def test_set_tf32_and_restore():
    # Torch's own default: convolutions in TF32, products not.
    before = settings()
    assert before[1] == "tf32"
    restore = set_tf32(True)
    assert settings() == ON
    set_tf32(False)
    assert settings() == OFF
    restore()
    assert settings() == before
    # Lightning reads the older name, when a Trainer finds its GPU.
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("tf32")
def test_full_precision_disables_tf32_and_restores_it():
    with full_precision(torch.zeros(1)):
        assert settings() == OFF
        with full_precision(torch.zeros(1)):
            pass
        assert settings() == OFF
    assert settings() == ON
    with pytest.raises(ZeroDivisionError), full_precision(torch.zeros(1)):
        raise ZeroDivisionError
    assert settings() == ON


def test_full_precision_disables_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(torch.zeros(1)):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def operations(function):
    """Return the names of the operations on tensors that a function calls."""
    targets = [str(node.target) for node in make_fx(function)().graph.nodes]
    return {name.split(".")[1] for name in targets if name.startswith("aten.")}


# Operations of tensor cores, which autocast and TF32 lower.
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "mv", "dot", "convolution", "mkldnn_convolution"}
PRODUCTS |= {"linear", "matmul", "einsum", "affine_grid_generator"}


def test_our_own_path_has_no_matrix_products():
    """A compiled graph runs it on a GPU, whose error a test on a CPU would not show."""
    rgb = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    augmentation = Augmentation(
        16, AugmentationOptions(rotation=5.0, grey_jitter=0.5, color_jitter=0.5)
    )
    draw = augmentation.draw(rgb.shape)
    called = operations(lambda: (to_rgb(*to_lab(rgb)), augmentation(rgb, draw)))
    assert {"exp2", "grid_sampler_2d"} <= called
    assert not called & PRODUCTS
    assert operations(lambda: rgb_to_lab(rgb / 255)) & PRODUCTS == {"bmm"}
