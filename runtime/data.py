"""Where batches come from: `Text`, `Arrays`, `Pairs`, or a `Source` of one's own."""

from __future__ import annotations

from .arrays import Arrays
from .pairs import Pairs
from .source import Examples, Source
from .text import Text

__all__ = ["Arrays", "Examples", "Pairs", "Source", "Text"]
