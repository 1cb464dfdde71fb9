"""The recipe's data: the kinds there are, what each offers to a model's inputs, and its keys."""

# ruff: noqa: RUF009  (the fields are made by `key`)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .recipe_forms import Either, Flag, Names, Real, Table, Text, Whole, Word
from .recipe_keys import Options, key


@dataclass(frozen=True)
class Offer:
    """What data have for an input of a model.

    Attributes:
        dtype: what it is: int, float or bool.
        dims: the dims it may have, one choice after the other; "batch" is the leading one.
    """

    dtype: str
    dims: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        doc: what the file is.
        source: the class of `runtime.data` that reads it.
        rows: what its examples are called.
        offers: what it has for inputs, by name; empty where the file says so.
        folder: whether a folder may stand for the file.
    """

    doc: str
    source: str
    rows: str
    offers: Mapping[str, Offer] = field(default_factory=dict)
    folder: bool = False


_ROW, _WINDOW = ("batch",), ("batch", "length")
_IMAGE = ("batch", "rows", "columns")
_WINDOWS = {
    "tokens": Offer("int", (_WINDOW,)),
    "targets": Offer("int", (_WINDOW,)),
    "document": Offer("int", (_WINDOW,)),
    "position": Offer("int", (_WINDOW,)),
    "live": Offer("bool", (_WINDOW,)),
}
TOKENS = ("tokens", "targets")
"""What windows offer without a separator."""

KINDS = {
    "text": Kind("a text file: its bytes, or tokens by a tokenizer", "Text", "windows", _WINDOWS),
    "tokens": Kind(
        "token ids, one after the other: .npy, or numbers without a header",
        "Tokens",
        "windows",
        _WINDOWS,
    ),
    "arrays": Kind(
        "a .npz file, a .npy file, or a folder of .npy files; each row is an example",
        "Arrays",
        "examples",
        folder=True,
    ),
    "images": Kind(
        "a folder of images, or of folders of images, one for each class",
        "Images",
        "images",
        {
            "image": Offer("float", (_IMAGE, (*_IMAGE, "channels"))),
            "label": Offer("int", (_ROW,)),
        },
        folder=True,
    ),
    "table": Kind("CSV, or JSON lines (.jsonl): columns with names", "Table", "examples"),
    "pairs": Kind(
        "lines with a source, a tab and a target",
        "Pairs",
        "pairs",
        {
            "source": Offer("int", (_WINDOW,)),
            "source_live": Offer("bool", (_WINDOW,)),
            "source_count": Offer("int", (_ROW,)),
            "target_in": Offer("int", (_WINDOW,)),
            "target_out": Offer("int", (_WINDOW,)),
            "target_live": Offer("bool", (_WINDOW,)),
        },
    ),
}
OWN = "own"
"""The kind of data that are no recipe's: they are given in Python."""

_SPELLINGS = {"csv": "table", "jsonl": "table", "npz": "arrays", "bytes": "text"}
_OF_ROWS = ("arrays", "images", "table", "pairs")
_OF_WINDOWS = ("text", "tokens")


@dataclass(frozen=True)
class Data:
    """Where batches come from."""

    kind: str = key(
        Word(tuple(KINDS), _SPELLINGS),
        "what the file is: " + ", ".join(KINDS) + "; see below",
        example='"arrays"',
    )
    file: str = key(
        Text("the path of a file"),
        "the file or folder, relative to the recipe",
        example='"data/digits.npz"',
    )
    held_out: int | float | str = key(
        Either((Whole(0), Real(least=0.0, below=1.0), Text("the path of a file"))),
        "what is kept for evaluation: a fraction, a count of examples, or a file of its own;"
        " a fraction of text or tokens is the end of the file",
        default=0.1,
    )
    split: str = key(
        Word(("random", "end", "stable")),
        "which examples are held out: random ones, those at the end, or each by a draw of its own,"
        " so that examples added later change nothing for the others",
        default="random",
        kinds=_OF_ROWS,
    )
    split_seed: int | None = key(
        Whole(0),
        "determines the split; left out, the seed below",
        default=None,
        example="0",
        kinds=_OF_ROWS,
    )
    fields: Options = key(
        Table("the model's inputs", Either((Text("a name of what the data offer"),
              Names("column", "once is enough")))),
        "which input takes what; left out, each takes what has its name, and two inputs of text or"
        " tokens take tokens and targets. An input may take a list of columns of a table",
        default=(),
        example='{ image = "x", label = "y" }',
    )  # fmt: skip
    scale: Options = key(
        Table("inputs", Real()),
        "factors for inputs; a scaled input is float. Images are scaled by 1/255 if not told",
        default=(),
        example="{ image = 0.0625 }",
        kinds=("arrays", "images", "table"),
    )
    ids: Options = key(
        Table("inputs", Either((Whole(1), Text("the name of a dim")))),
        "how many ids the data may have, or the dim of the model that says so; left out, as many as"
        " the model has where it looks them up. The data are checked against it",
        default=(),
        example='{ label = "N" }',
    )
    tokenizer: str | None = key(
        Text("the path of a file"),
        "a tokenizer.json of the package tokenizers; left out, each byte of text is an id, and"
        " tokens cannot be read as text",
        default=None,
        example='"data/tokenizer.json"',
        kinds=("text", "tokens", "table"),
    )
    windows: str = key(
        Word(("random", "each")),
        "windows are taken at random places, or those that follow one another each once an epoch",
        default="random",
        kinds=_OF_WINDOWS,
    )
    separator: int | str | None = key(
        Either((Whole(0), Text("a token"))),
        "the id or text of the token that ends each document; with it, document, position and"
        " live are offered",
        default=None,
        example='"<|endoftext|>"',
        kinds=_OF_WINDOWS,
    )
    dtype: str = key(
        Word(("uint8", "uint16", "uint32", "int32")),
        "the dtype of token ids in a file without a header",
        default="uint16",
        kinds=("tokens",),
    )
    fit: str = key(
        Word(("crop", "stretch")),
        "how images of other shapes are fitted: the middle is taken, or they are stretched",
        default="crop",
        kinds=("images",),
    )
    flip: bool = key(
        Flag(),
        "whether in training images are mirrored by chance, left to right",
        default=False,
        kinds=("images",),
    )
    crop: int = key(
        Whole(0),
        "in training, images get this many rows and columns of zeros on each side, and are cut at"
        " a random place",
        default=0,
        kinds=("images",),
    )
    columns: Options = key(
        Table("columns", Word(("category", "text"))),
        "columns that are no numbers: a category becomes an id, a text ids, padded; then NAME_live"
        " and NAME_count are offered too",
        default=(),
        example='{ species = "category", review = "text" }',
        kinds=("table",),
    )
    copy: bool | None = key(
        Flag(),
        "whether the data are copied into the program, which then stands alone; left out, they are,"
        " and from 1 GB on must be decided",
        default=None,
        example="true",
    )
    seed: int | None = key(
        Whole(0),
        "determines the order of batches, and the split; left out, the seed of [train]",
        default=None,
        example="0",
    )

    def offers(self) -> Mapping[str, Offer]:
        """What is offered to inputs; nothing where only the file can say."""
        offers = KINDS[self.kind].offers
        if offers is _WINDOWS and self.separator is None:
            return {name: offers[name] for name in TOKENS}
        return offers

    def paths(self) -> Iterator[str]:
        """The files and folders that it names."""
        yield self.file
        if isinstance(self.held_out, str):
            yield self.held_out
        if self.tokenizer is not None:
            yield self.tokenizer

    def packages(self) -> tuple[str, ...]:
        """The packages that read them, beside those that every program needs."""
        images = ("pillow>=10",) if self.kind == "images" else ()
        return images + (("tokenizers>=0.21",) if self.tokenizer is not None else ())


def given_in_python() -> Data:
    """Stands for data that a recipe does not name."""
    return Data(OWN, "")
