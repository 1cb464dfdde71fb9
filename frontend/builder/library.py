"""Layers of model files, and of the chapters of the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .layers import FileLayer
from .mistakes import mistake
from .source import Site, user_frame

if TYPE_CHECKING:
    from ..names import SourceFile


class Library:
    """The layers of a model file or of a chapter of the library, by name."""

    def __init__(self, file: SourceFile, texts: Mapping[str, str]):
        self._file, self._texts = file, texts

    def __getattr__(self, name: str) -> FileLayer:
        found = self._file.layers.get(name)
        if found is not None:
            return FileLayer(self._file, found, self._texts)
        if name.startswith("_"):
            raise AttributeError(name)
        from ...ir.diagnostics import nearest
        from ..wording import some
        from .mistakes import no_attribute

        close = nearest(name, self._file.layers)
        has = some(sorted(self._file.layers))
        raise no_attribute(
            "unknown-layer",
            f"{self._file.name} has no layer {name}; it has {has}",
            Site.here(),
            f"did you mean {close[0]}?" if close else "",
        )

    def __dir__(self) -> list[str]:
        return sorted(self._file.layers)

    def __repr__(self) -> str:
        return f"<layers of {self._file.name}>"


def library(name: str) -> Library:
    """The layers of a chapter of the standard library, or of a model file.

    Args:
        name: a chapter, such as `vision`, or the path of a `*.nw` file; a relative path starts at
            the folder of the Python file.

    Raises:
        InputError: there is no such file, or it is wrong.
    """
    from pathlib import Path as FilePath

    from ...ir.diagnostics import Diagnostics, nearest
    from ..names import LIBRARY, load

    frame = user_frame()
    site = Site.of(frame)
    diagnostics = Diagnostics()
    if name.endswith(".nw"):
        path = FilePath(frame.f_code.co_filename).parent / name
        shown = name
    else:
        path, shown = LIBRARY / f"{name}.nw", f"library/{name}.nw"
        if not path.is_file():
            known = sorted(p.stem for p in LIBRARY.glob("*.nw"))
            close = nearest(name, known)
            raise mistake(
                "unknown-import",
                f"the library has no chapter {name}",
                site,
                facts=(f"it has {', '.join(known)}",) if known else (),
                help=f'nw.library("{close[0]}")' if close else "",
            )
    file = load(path, diagnostics, shown)
    diagnostics.raise_errors()
    assert file is not None
    return Library(file, diagnostics.sources)
