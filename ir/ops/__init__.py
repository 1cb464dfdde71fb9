"""The entries of the registry, a file for each family. Importing this package registers them all."""

from . import arithmetic, structure  # noqa: F401
