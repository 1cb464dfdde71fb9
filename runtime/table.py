"""Columns of a CSV file or of JSON lines: numbers, categories and texts."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import check_names
from .errors import RunError
from .files import read_file, read_text, sha256
from .order import divided
from .source import Batch, Rows
from .tokenizer import Tokenizer, tokenizer

DTYPES = ("float32", "int32", "bool")
KINDS = ("category", "text")
TEXT_ROLES = ("", "_live", "_count")
DELIMITERS = (",", "\t", ";")
MOST_NAMED = 8  # categories in a message
LONGEST = 2**24  # characters in a cell
WORDS = {"true": True, "false": False, "1": True, "0": False}


class Table(Rows):
    """Rows of a table: a CSV file whose first line names the columns, or JSON objects, one a line.

    In CSV the delimiter is the one of comma, tab and semicolon that the first line has most of.
    Numbers are read as the dtype of their field says. A column of kind

    category  gives int32 ids: the places of its values among the sorted ones of the file
    text      gives int32[batch, length] ids, cut and padded with 0 to the length; NAME_live, bool
              of the same shape, is true where there is text, and NAME_count, int32[batch], says
              how many ids are live

    path:     the file; `.jsonl`, `.ndjson` and `.json` are JSON lines, others CSV
    fields:   field of the batch -> column, NAME_live or NAME_count of a text, or a list of columns
              of numbers, which become a row; a JSON value may be a list of numbers itself
    dtypes:   field -> float32, int32 or bool, for those with numbers
    columns:  column -> category or text
    lengths:  column of text -> how many ids are kept
    tokenizer: a `tokenizer.json` for all texts; None: bytes
    batch:    rows in a batch
    scale:    field -> factor
    held_out: rows to evaluate on, as a count (int) or a fraction (float), 0 for none; or another
              such file, without categories of its own
    split:    which rows those are: see `order.split_rows`
    split_seed: determines the split; None: seed does
    seed:     determines the order
    sizes:    field -> how many ids the model knows

    Raises RunError, with line and column, for what is missing or is no such value.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fields: Mapping[str, str | list[str] | tuple[str, ...]],
        batch: int,
        dtypes: Mapping[str, str] | None = None,
        columns: Mapping[str, str] | None = None,
        lengths: Mapping[str, int] | None = None,
        tokenizer: str | Path | None = None,
        scale: Mapping[str, float] | None = None,
        held_out: float | str | Path = 0.1,
        split: str = "random",
        split_seed: int | None = None,
        seed: int = 0,
        sizes: Mapping[str, int] | None = None,
    ):
        self.path = Path(path)
        self.fields = {f: c if isinstance(c, str) else tuple(c) for f, c in fields.items()}
        self._kinds, self._lengths = dict(columns or {}), dict(lengths or {})
        self._dtypes, self._scale = dict(dtypes or {}), dict(scale or {})
        self._sizes = dict(sizes or {})
        check_names(self.fields, dtypes=self._dtypes, scale=self._scale, sizes=self._sizes)
        self._tokenizer: Tokenizer = _tokenizer(tokenizer)
        table, other = _Read(self.path), None
        self.categories = {
            column: table.categories(column)
            for column, kind in self._kinds.items()
            if kind == "category"
        }
        self._cut = 0
        made = [self._columns(table)]
        if isinstance(held_out, str | Path):
            more = _Read(Path(held_out))
            made.append(self._columns(more))
            other = len(more.lines), {"sha256": more.sha256}
        self._made = {f: _joined([part[f] for part in made]) for f in self.fields}
        rows, described = divided(
            len(table.lines), held_out, split=split, split_seed=split_seed, seed=seed, other=other
        )
        self._described = {"sha256": table.sha256, **described}
        super().__init__(*rows, batch=batch, seed=seed)

    def take(self, ids: np.ndarray) -> Batch:
        return {field: column.take(ids) for field, column in self._made.items()}

    def describe(self) -> dict:
        return {
            "kind": "table",
            **self._described,
            "fields": {f: c if isinstance(c, str) else list(c) for f, c in self.fields.items()},
            "dtypes": self._dtypes,
            "categories": self.categories,
            "lengths": self._lengths,
            **self._tokenizer.describe(),
            "scale": self._scale,
            "batch": self._batch,
            "seed": self._seed,
        }

    def summary(self) -> str:
        cut = f"; {self._cut:,} texts are cut at their length" if self._cut else ""
        return self.counted(self.path.name) + cut

    def _columns(self, table: _Read) -> dict[str, Column]:
        """What each field takes of a table."""
        texts: dict[str, _Texts] = {}
        found: dict[str, Column] = {}
        for field, column in self.fields.items():
            base, role = self._text_of(column)
            if base is not None:
                if base not in texts:
                    texts[base] = self._texts(table, base)
                if role == "":
                    self._check_ids(table, field, base, texts[base].flat, texts[base].rows())
                elif role == "_count":
                    self._check_ids(table, field, base, np.diff(texts[base].starts))
                found[field] = _Text(texts[base], role)
            elif isinstance(column, str) and self._kinds.get(column) == "category":
                ids = table.ids(column, self.categories[column], self.path)
                self._check_categories(table, field, column, ids)
                found[field] = _Plain(ids)
            else:
                values = self._numbers(table, field, column)
                self._check_ids(table, field, column, values)
                if field in self._scale:
                    values = values.astype(np.float32) * np.float32(self._scale[field])
                found[field] = _Plain(values)
        return found

    def _text_of(self, column: str | tuple[str, ...]) -> tuple[str | None, str]:
        """The column of text that this is a role of, and the role's ending."""
        for ending in TEXT_ROLES if isinstance(column, str) else ():
            assert isinstance(column, str)
            base = column.removesuffix(ending) if ending else column
            if self._kinds.get(base) == "text" and base + ending == column:
                return base, ending
        return None, ""

    def _numbers(self, table: _Read, field: str, column: str | tuple[str, ...]) -> np.ndarray:
        dtype = self._dtypes.get(field, "float32")
        if dtype not in DTYPES:
            raise RunError(f"dtypes: {field} cannot be {dtype!r}, but {', '.join(DTYPES)}.")
        if isinstance(column, str):
            return table.numbers(column, dtype)
        return np.stack([table.numbers(name, dtype) for name in column], axis=1)

    def _texts(self, table: _Read, column: str) -> _Texts:
        length = self._lengths.get(column)
        if length is None:
            raise RunError(f"lengths does not say how many ids of the text '{column}' are kept.")
        encoded = [self._tokenizer.encode(text) for text in table.texts(column)]
        self._cut += sum(len(ids) > length for ids in encoded)
        return _Texts.of([ids[:length] for ids in encoded], length)

    def _check_categories(self, table: _Read, field: str, column: str, ids: np.ndarray) -> None:
        size, categories = self._sizes.get(field), self.categories[column]
        if size is None or len(categories) <= size:
            return
        outside = np.flatnonzero(ids >= size)
        if len(outside):
            row = int(outside[0])
            raise table.wrong(
                row,
                column,
                f"{categories[ids[row]]!r} is one category too many: '{field}' takes {size}, and"
                f" {self.path.name} has {len(categories)}, {_listed(categories)}",
            )

    def _check_ids(
        self, table: _Read, field: str, column: Any, ids: np.ndarray, rows: Any = None
    ) -> None:
        size = self._sizes.get(field)
        if size is None:
            return
        outside = np.argwhere((ids < 0) | (ids >= size))
        if len(outside):
            place = tuple(outside[0])
            row = int(rows[place[0]] if rows is not None else place[0])
            raise table.wrong(
                row, column, f"{ids[place]} is no id of '{field}', which may be 0 to {size - 1}"
            )


class _Read:
    """A table as it was read.

    columns: the values of each column; None where a line of JSON has no such key
    lines:   the line in the file that each row is on
    """

    def __init__(self, path: Path):
        self.path = path
        content = read_file(path)
        self.sha256 = sha256(content)
        text = read_text(path, content)
        if not text.strip():
            raise RunError(f"{path} is empty.")
        self.columns: dict[str, list[Any]] = {}
        self.lines: list[int] = []
        if path.suffix in (".jsonl", ".ndjson", ".json"):
            self._read_json(text)
        else:
            self._read_csv(text)
        if not self.lines:
            raise RunError(f"{path} has no rows.")

    def wrong(self, row: int, column: Any, what: str) -> RunError:
        named = f'column "{column}"' if isinstance(column, str) else f"columns {list(column)}"
        return RunError(f"{self.path}, line {self.lines[row]}, {named}: {what}.")

    def column(self, name: str) -> list[Any]:
        if name not in self.columns:
            listed = ", ".join(self.columns)
            raise RunError(f'{self.path} has no column "{name}".\nIt has: {listed}.')
        for row, value in enumerate(self.columns[name]):
            if value is None:
                raise self.wrong(row, name, "there is no value")
        return self.columns[name]

    def categories(self, name: str) -> list[str]:
        return sorted({_word(value) for value in self.column(name)})

    def ids(self, name: str, categories: list[str], of: Path) -> np.ndarray:
        known = {category: index for index, category in enumerate(categories)}
        found = np.empty(len(self.lines), np.int32)
        for row, value in enumerate(self.column(name)):
            if _word(value) not in known:
                raise self.wrong(
                    row,
                    name,
                    f"{_word(value)!r} is not among the categories of {of.name},"
                    f" {_listed(categories)}",
                )
            found[row] = known[_word(value)]
        return found

    def texts(self, name: str) -> Iterator[str]:
        for row, value in enumerate(self.column(name)):
            if not isinstance(value, str):
                raise self.wrong(row, name, f"expected text, found {_shown(value)}")
            half = next((c for c in value if "\ud800" <= c <= "\udfff"), None)
            if half is not None:
                raise self.wrong(row, name, f"\\u{ord(half):04x} is half of a character, alone")
            yield value

    def numbers(self, name: str, dtype: str) -> np.ndarray:
        """[rows], or [rows, n] of lists of n numbers."""
        values = self.column(name)
        if not isinstance(values[0], list):
            made = [self._number(row, name, value, dtype) for row, value in enumerate(values)]
            return np.array(made, dtype)
        length = len(values[0])
        found = np.empty((len(values), length), dtype)
        for row, value in enumerate(values):
            if not isinstance(value, list) or len(value) != length:
                raise self.wrong(row, name, f"expected a list of {length}, as in the first row")
            found[row] = [self._number(row, name, item, dtype) for item in value]
        return found

    def _number(self, row: int, name: str, value: Any, dtype: str) -> Any:
        said = value.strip() if isinstance(value, str) else value
        if dtype == "bool":
            found = WORDS.get(str(said).lower())
            if found is None:
                raise self.wrong(row, name, f"expected true or false, found {_shown(value)}")
            return found
        try:
            number = float(said) if not isinstance(said, list | dict) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if said == "":
            raise self.wrong(row, name, "there is no value")
        if not math.isfinite(number):
            advice = "" if isinstance(value, int | float) else (
                '; a category or a text is named as such: columns = {"' + name + '": "category"}'
            )  # fmt: skip
            raise self.wrong(row, name, f"expected a number, found {_shown(value)}{advice}")
        if dtype == "float32" and abs(number) > float(np.finfo(np.float32).max):
            raise self.wrong(row, name, f"{_shown(value)} is more than float32 holds")
        if dtype == "int32" and (number != int(number) or abs(number) >= 2**31):
            raise self.wrong(row, name, f"expected a whole number, found {_shown(value)}")
        return int(number) if dtype == "int32" else number

    def _read_csv(self, text: str) -> None:
        head = text.split("\n", 1)[0]
        delimiter = max(DELIMITERS, key=head.count)
        csv.field_size_limit(LONGEST)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            names = [name.strip() for name in next(reader, [])]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise RunError(f'{self.path}, line 1: the column "{twice}" stands there twice.')
            rows, begun = [], reader.line_num + 1
            for row in reader:
                if row and len(row) != len(names):
                    raise RunError(
                        f"{self.path}, line {begun}: {len(row)} values, but the first line names"
                        f" {len(names)} columns."
                    )
                if row:
                    rows.append(row)
                    self.lines.append(begun)
                begun = reader.line_num + 1
        except csv.Error as error:
            raise RunError(f"{self.path}, line {reader.line_num}: {error}.") from None
        for name, values in zip(names, zip(*rows, strict=True), strict=False):
            self.columns[name] = list(values)

    def _read_json(self, text: str) -> None:
        rows = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_object)
            except (ValueError, RecursionError) as error:
                raise RunError(f"{self.path}, line {number}: not JSON: {error}.") from None
            if not isinstance(row, dict):
                raise RunError(
                    f"{self.path}, line {number}: expected an object in braces, found"
                    f" {_shown(row)}."
                )
            rows.append(row)
            self.lines.append(number)
        names = dict.fromkeys(name for row in rows for name in row)
        self.columns = {name: [row.get(name) for row in rows] for name in names}


@dataclass(frozen=True)
class _Plain:
    """A column with a value for each row."""

    values: np.ndarray

    def take(self, ids: np.ndarray) -> np.ndarray:
        return self.values[ids]


@dataclass(frozen=True)
class _Texts:
    """Texts of different lengths: ids one after the other, and where each text starts."""

    flat: np.ndarray
    starts: np.ndarray
    length: int

    @staticmethod
    def of(texts: list[np.ndarray], length: int) -> _Texts:
        starts = np.cumsum([0, *map(len, texts)])
        return _Texts(np.concatenate([*texts, np.zeros(0, np.uint8)]), starts, length)

    def rows(self) -> np.ndarray:
        """The row that each id is of."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


@dataclass(frozen=True)
class _Text:
    """A column that says something of texts: their ids, which are live, or how many."""

    texts: _Texts
    role: str

    def take(self, ids: np.ndarray) -> np.ndarray:
        starts = self.texts.starts[ids]
        counts = self.texts.starts[ids + 1] - starts
        if self.role == "_count":
            return counts.astype(np.int32)
        places = np.arange(self.texts.length)
        live = places < counts[:, None]
        if self.role == "_live":
            return live
        found = np.zeros(live.shape, np.int32)
        found[live] = self.texts.flat[(starts[:, None] + places)[live]]
        return found


Column = _Plain | _Text


def _joined(parts: list[Column]) -> Column:
    """The columns of one table or two, one after the other."""
    first, *rest = parts
    if not rest:
        return first
    (second,) = rest
    if isinstance(first, _Text):
        assert isinstance(second, _Text)
        a, b = first.texts, second.texts
        starts = np.concatenate([a.starts, b.starts[1:] + a.starts[-1]])
        return _Text(_Texts(np.concatenate([a.flat, b.flat]), starts, a.length), first.role)
    assert isinstance(second, _Plain)
    return _Plain(np.concatenate([first.values, second.values]))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # Python's own reader would keep the last value
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{_shown(twice)} is a key twice")
    return found


def _word(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _listed(categories: list[str]) -> str:
    more = len(categories) - MOST_NAMED
    shown = ", ".join(map(repr, categories[:MOST_NAMED]))
    return f"{shown} and {more:,} more" if more > 0 else shown


_tokenizer = tokenizer  # the constructor has an argument of that name
