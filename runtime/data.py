"""Where batches come from: a source for each kind of data, or a `Source` of one's own."""

from __future__ import annotations

from .arrays import Arrays
from .images import Images
from .loader import Loader
from .pairs import Pairs
from .source import Examples, Source
from .table import Table
from .text import Text
from .tokens import Tokens

__all__ = [
    "Arrays",
    "Examples",
    "Images",
    "Loader",
    "Pairs",
    "Source",
    "Table",
    "Text",
    "Tokens",
]
