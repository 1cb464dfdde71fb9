"""A twin of the networks of Flax's ImageNet example, for tests.

It has the parameter tree, the sizes, the initializers and the arithmetic of `ResNet` in
examples/imagenet/models.py at commit 18f8f311c275d57f46d95e41b15aa97b454754c0 of google/flax, and
was written anew, for one device and without the variant of local convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

ZERO = nn.initializers.zeros_init()


class ResNetBlock(nn.Module):
    filters: int
    conv: Any
    norm: Any
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        steps = (self.stride, self.stride)
        y = nn.relu(self.norm()(self.conv(self.filters, (3, 3), steps)(x)))
        y = self.norm(scale_init=ZERO)(self.conv(self.filters, (3, 3))(y))
        if x.shape != y.shape:
            x = self.conv(self.filters, (1, 1), steps, name="conv_proj")(x)
            x = self.norm(name="norm_proj")(x)
        return nn.relu(x + y)


class BottleneckResNetBlock(nn.Module):
    filters: int
    conv: Any
    norm: Any
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        steps, wide = (self.stride, self.stride), 4 * self.filters
        y = nn.relu(self.norm()(self.conv(self.filters, (1, 1))(x)))
        y = nn.relu(self.norm()(self.conv(self.filters, (3, 3), steps)(y)))
        y = self.norm(scale_init=ZERO)(self.conv(wide, (1, 1))(y))
        if x.shape != y.shape:
            x = self.conv(wide, (1, 1), steps, name="conv_proj")(x)
            x = self.norm(name="norm_proj")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    stages: Sequence[int]
    block: Any
    classes: int = 1000
    filters: int = 64

    @nn.compact
    def __call__(self, x, train: bool):
        conv = partial(nn.Conv, use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        x = conv(self.filters, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], name="conv_init")(x)
        x = nn.relu(norm(name="bn_init")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, size in enumerate(self.stages):
            for place in range(size):
                stride = 2 if stage > 0 and place == 0 else 1
                x = self.block(self.filters * 2**stage, conv, norm, stride)(x)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def loss(logits, labels):
    """Cross-entropy; the shrinking of weights that train.py adds is the recipe's."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
