"""The entries of the registry, a file for each family. Importing this package registers all."""

from . import (  # noqa: F401
    arithmetic,
    attention,
    convolution,
    initializer,
    layout,
    lookup,
    loss,
    normalising,
    pointwise,
    position,
    product,
    random,
    reduction,
    shape,
    structure,
)
