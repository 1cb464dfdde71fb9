"""The entries of the registry, a file for each family. Importing this package registers them all."""

from . import arithmetic, layout, pointwise, product, structure  # noqa: F401
