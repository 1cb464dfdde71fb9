"""The entries of the registry, a file for each family. Importing this package registers all."""

from . import (  # noqa: F401
    along,
    arithmetic,
    attention,
    convolution,
    initializer,
    joining,
    layout,
    lookup,
    loss,
    normalising,
    pointwise,
    pooling,
    position,
    product,
    random,
    recurrence,
    reduction,
    shape,
    structure,
)
