"""Files and what they declare: the glossary, constants, layers and imports of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..ir.diagnostics import Diagnostics, Place, Span, nearest
from . import tree as nodes

LIBRARY = Path(__file__).parent / "library"
LARGEST = 1_000_000  # bytes; a model file is a page or two


@dataclass
class SourceFile:
    """A parsed file with its declarations by name.

    Attributes:
        name: the path as the reader knows it.
        path: where it was read from; None for text that never was a file.
        span: the whole of it.
        dims, consts, layers, imports: what it declares.
        missing: imports that could not be read.
        reached: the layers that have been elaborated.
        cyclic: dims and constants that are written with themselves, and have been reported.
    """

    name: str
    path: Path | None
    span: Span
    dims: dict[str, nodes.DimDecl] = field(default_factory=dict)
    consts: dict[str, nodes.ConstDecl] = field(default_factory=dict)
    layers: dict[str, nodes.Layer] = field(default_factory=dict)
    imports: dict[str, SourceFile] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    cyclic: set[str] = field(default_factory=set)

    def last(self, kind: str) -> nodes.Layer | None:
        """The last layer of a kind (`loss`, `model`): the default one."""
        found = [layer for layer in self.layers.values() if layer.kind == kind]
        return found[-1] if found else None


NO_MODELS = {
    ".json": "a file of JSON, such as a plan",
    ".py": "Python, whose decorated functions `netwright.load` takes",
    ".toml": "a file of TOML, such as a recipe",
}
"""Files that are taken for models by mistake, by their endings, and what they are."""


def load(path: Path, diagnostics: Diagnostics, name: str | None = None) -> SourceFile | None:
    """Read and parse a model file with all that it imports; None if that was not possible.

    Args:
        path: the file.
        diagnostics: takes what is wrong, and the texts.
        name: what messages call the file; the path by default.
    """
    return _load(path, diagnostics, name or str(path), [], {})


def loads(text: str, diagnostics: Diagnostics, name: str = "model.nw") -> SourceFile | None:
    """The same for a text; imports come from the standard library only."""
    return _declare(text, None, name, diagnostics, [], {})


def read(path: Path, diagnostics: Diagnostics, name: str) -> str | None:
    """The text of a model file, which messages call `name`; None if it cannot be read."""
    if path.suffix in NO_MODELS and path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.nw"))
        diagnostics.error(
            "no-model-file",
            f"{name} is {NO_MODELS[path.suffix]}, and no model",
            help=f"{path.parent / beside[0]}" if beside else "name a model file (*.nw)",
        )
        return None
    try:
        raw = path.read_bytes() if path.stat().st_size <= LARGEST else None
    except OSError as error:
        reason = "is a folder" if path.is_dir() else (error.strerror or "cannot be read").lower()
        close = nearest(path.name, (p.name for p in path.parent.glob("*.nw") if p != path))
        help = f"{path.parent / close[0]}" if close else "name a model file (*.nw)"
        diagnostics.error("cannot-read", f"{name}: {reason}", help=help)
        return None
    if raw is None:
        diagnostics.error(
            "file-too-large",
            f"{name} has {path.stat().st_size:,} bytes; a model file may have {LARGEST:,}",
            help="models are small: data belongs into files that the recipe names",
        )
        return None
    return decoded(raw, diagnostics, name)


def decoded(raw: bytes, diagnostics: Diagnostics, name: str) -> str | None:
    """The text that bytes are in UTF-8; None if they are not."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        diagnostics.error(
            "not-utf8",
            f"{name}, line {line}: this is not UTF-8 text",
            help="save the file as UTF-8",
        )
        return None


def _load(path, diagnostics, name, chain, loaded) -> SourceFile | None:
    text = read(path, diagnostics, name)
    return None if text is None else _declare(text, path, name, diagnostics, chain, loaded)


def _declare(text, path, name, diagnostics, chain, loaded) -> SourceFile | None:
    from .parser import parse

    parsed = parse(text, name, diagnostics)
    if parsed is None:
        return None
    file = SourceFile(name, path, parsed.span)
    seen: dict[str, Span] = {}

    def declare(table: dict, key: str, node, span: Span, what: str) -> None:
        if key in seen:
            diagnostics.error(
                "declared-twice",
                f"{key} is declared twice in this file",
                span,
                caption=f"this {what} would hide the first",
                places=(Place(seen[key], "first declared here"),),
                help="rename one of them",
            )
            return
        seen[key] = span
        table[key] = node

    for item in parsed.items:
        if isinstance(item, nodes.Dims):
            for dim in item.items:
                declare(file.dims, dim.name, dim, dim.span, "dim")
        elif isinstance(item, nodes.Consts):
            for const in item.items:
                declare(file.consts, const.name, const, const.span, "constant")
        elif isinstance(item, nodes.Layer):
            declare(file.layers, item.name, item, item.name_span, item.kind)
        else:
            imported = _import(item, file, diagnostics, [*chain, name], loaded)
            if imported is None:
                file.missing.add(item.name)
            else:
                declare(file.imports, item.name, imported, item.span, "import")
    return file


def _import(item: nodes.Import, file: SourceFile, diagnostics, chain, loaded) -> SourceFile | None:
    """The file that an import names: beside the importer, else a chapter of the library."""
    folder = file.path.parent if file.path is not None else LIBRARY
    beside = folder / f"{item.name}.nw"
    library = LIBRARY / f"{item.name}.nw"
    path = beside if beside.is_file() else library
    if path == beside and path.is_symlink() and not _inside(path, folder):
        diagnostics.error(
            "import-outside",
            f"import {item.name} leads outside the model's folder",
            item.span,
            facts=(f"{beside.name} is a link to another folder",),
            help="copy the file into the folder of the model",
        )
        return None
    if not path.is_file():
        chapters = sorted(p.stem for p in LIBRARY.glob("*.nw"))
        files = sorted(p.stem for p in folder.glob("*.nw") if p != file.path and folder != LIBRARY)
        close = nearest(item.name, [*files, *chapters])
        diagnostics.error(
            "unknown-import",
            f"there is no {item.name}.nw beside {Path(file.name).name}, "
            "nor such a chapter of the library",
            item.span,
            facts=(
                *((f"beside it: {', '.join(files)}",) if files else ()),
                f"chapters of the library: {', '.join(chapters)}",
            ),
            help=f"import {close[0]}" if close else "",
        )
        return None
    if path in loaded:
        if loaded[path] is None:
            diagnostics.error(
                "import-cycle",
                f"import {item.name} closes a cycle",
                item.span,
                facts=(" → ".join([*(Path(c).name for c in chain), path.name]),),
                help="move what both files need into a third one",
            )
        return loaded[path]
    name = str(Path(file.name).parent / path.name) if path == beside else f"library/{path.name}"
    loaded[path] = None
    if file.path is not None:
        loaded.setdefault(file.path, None)
    loaded[path] = _load(path, diagnostics, name, chain, loaded)
    return loaded[path]


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
