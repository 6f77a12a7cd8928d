"""The first weights of GANs."""

from torch import nn

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Draw weights as DCGAN and pix2pix do (Radford et al. 2016, Isola et al. 2017).

    Convolutions from N(0, std), scales of normalisations from N(1, std), all biases 0. A spectral
    norm is put on afterwards: it takes its first estimate from the weights that it finds.

    Args:
        module: Whatever convolutions and normalisations lie in it.
        std: The standard deviation.
    """
    for part in module.modules():
        if isinstance(part, _CONVOLUTIONS + _NORMS):
            nn.init.normal_(part.weight, float(isinstance(part, _NORMS)), std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
