"""Reading `recipe.toml`, with messages as good as the language's.

Nothing in a recipe is evaluated. What may stand in it is said in `ir.recipe`; here is only how it
is read, and what is said where it is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..ir.diagnostics import Diagnostics, Place, Span, nearest
from ..ir.optimizers import (
    DECAY_MASKS,
    DECAYS,
    OPTIMIZERS,
    REQUIRED,
    SCHEDULES,
    STEPS,
    option_form,
)
from ..ir.recipe import SECTIONS, Key, Optimizer, Recipe, keys_of
from ..ir.recipe_forms import Axes, Either, Flag, Form, Real, Table, Text, Whole, Word, toml
from .toml_places import Document, KeyPath, key_parts
from .toml_places import read as read_toml

TOKENS = ("tokens", "targets")
ROLES = ("source", "source_live", "source_count", "target_in", "target_out", "target_live")
"""What a pair offers, as `runtime.pairs` has it."""

OFFERS: dict[str, tuple[str, ...]] = {"text": TOKENS, "pairs": ROLES}
"""What data of a kind offer; arrays offer their own names."""

OVERRIDES = "--set"
"""The name under which overrides are quoted."""

SYNONYMS = {
    "lr": "learning_rate", "rate": "learning_rate", "batch_size": "batch", "max_steps": "steps",
    "num_steps": "steps", "iterations": "steps", "eval_every": "evaluate_every",
    "eval_interval": "evaluate_every", "save_every": "checkpoint_every", "grad_clip": "clip",
    "clip_norm": "clip", "max_grad_norm": "clip", "clip_by_global_norm": "clip",
    "beta1": "b1", "beta2": "b2", "wd": "weight_decay", "warmup": "warmup_steps", "type": "kind",
    "path": "file", "dtype": "policy", "valid": "held_out", "validation": "held_out",
    "test_size": "held_out", "epsilon": "eps", "min_lr": "end_value", "random_seed": "seed",
    "vocabulary": "ids", "total_steps": "decay_steps",
}  # fmt: skip
"""What other tools call these keys."""

ADVICE = {
    "epochs": "steps are counted instead: epochs × examples / batch",
    "length": "a length is the size of a dim of the model: [sizes] S = 128",
    "source_length": "a length is the size of a dim of the model: [sizes] S = 128",
    "target_length": "a length is the size of a dim of the model: [sizes] T = 128",
    "seq_len": "a length is the size of a dim of the model: [sizes] S = 128",
    "mask": 'say what decays with decay_on = "matrices" or "all"',
    "weight_decay_mask": 'say what decays with decay_on = "matrices" or "all"',
    "betas": "write b1 and b2",
    "model": "the model is found beside the recipe; the recipe does not name it",
}
"""What to do about keys that have no counterpart."""


def read_recipe(
    path: str | Path, diagnostics: Diagnostics, overrides: Sequence[str] = ()
) -> Recipe | None:
    """The recipe in a file; None if anything is wrong, which the diagnostics then say.

    Args:
        path: the file, shown in messages as given.
        diagnostics: where mistakes go; its sources get the text of the file.
        overrides: such as `train.steps=100`: a key and a value in TOML (of text, the quotes may be
            left out). They replace what the file says.
    """
    file = str(path)
    found = len(diagnostics.errors)
    text = _text(Path(path), file, diagnostics)
    if text is None:
        return None
    document = read_toml(text, file, diagnostics)
    _override(document, overrides, diagnostics)
    recipe = _Reader(file, document, diagnostics).recipe()
    return None if len(diagnostics.errors) > found else recipe


def _text(path: Path, file: str, diagnostics: Diagnostics) -> str | None:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        diagnostics.error("recipe-not-text", f"{file} is not UTF-8 text: see line {line}")
    except FileNotFoundError:
        diagnostics.error(
            "recipe-not-found",
            f"there is no recipe {file}",
            help='write one; the least is [data] with kind = "text" and file = "…"',
        )
    except OSError as error:
        diagnostics.error("recipe-not-found", f"{file} cannot be read: {error.strerror}")
    return None


def _override(document: Document, overrides: Sequence[str], diagnostics: Diagnostics) -> None:
    if not overrides:
        return
    import tomllib

    lines = [text.replace("\n", " ") for text in overrides]
    diagnostics.sources[OVERRIDES] = "\n".join(lines)
    for number, line in enumerate(lines, 1):
        name, sign, value = line.partition("=")
        whole = Span(OVERRIDES, number, 1, number, len(line) + 1)
        if not sign or not name.strip():
            diagnostics.error(
                "recipe-override", "expected a key, = and a value", whole, help="train.steps=100"
            )
            continue
        try:
            held = tomllib.loads(f"value = {value}")
        except ValueError:
            held = {"value": value.strip()}
        if list(held) != ["value"]:
            held = {"value": value.strip()}
        keys = tuple(key_parts(name.strip()))
        table = document.values
        for key in keys[:-1]:
            if not isinstance(table.get(key), dict):
                table[key] = {}
            table = table[key]
        for section in ("precision.overrides", "roll"):  # "gpt.norm" and gpt.norm are the same
            _drop_path(document.values, section.split("."), keys)
        table[keys[-1]] = held["value"]
        for places in (document.keys, document.at):
            for known in [k for k in places if k[: len(keys)] == keys]:
                del places[known]
        column = len(name) + 1 + len(value) - len(value.lstrip()) + 1
        named = len(name) - len(name.lstrip())
        document.keys[keys] = Span(OVERRIDES, number, named + 1, number, len(name.rstrip()) + 1)
        document.at[keys] = Span(OVERRIDES, number, column, number, len(line.rstrip()) + 1)


def _drop_path(values: dict, section: list[str], keys: Sequence[str]) -> None:
    if list(keys[: len(section)]) != section:
        return
    table = values
    for part in section:
        table = table.get(part, {})
        if not isinstance(table, dict):
            return
    table.pop(".".join(keys[len(section) :]), None)


# Reading


_BAD: Any = object()


def _said(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}" if abs(value) < 1e30 else "a number"
    if isinstance(value, str):
        return f"text, {_short(value)}"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return "a date or time"


def _short(text: str) -> str:
    return f'"{text}"' if len(text) <= 40 else f'"{text[:39]}…"'


class _Reader:
    """Reads the values of one document against the schema."""

    def __init__(self, file: str, document: Document, diagnostics: Diagnostics):
        self.file, self.document, self.diagnostics = file, document, diagnostics
        self.places: dict[str, Span] = {}

    # Places.

    def at(self, path: KeyPath) -> Span:
        """Where a value stands, else its key, else the table that it is in, else the file."""
        for cut in range(len(path), 0, -1):
            for places in (self.document.at, self.document.keys):
                if path[:cut] in places:
                    return places[path[:cut]]
        return Span(self.file, 1, 1, 1, 1)

    def key_at(self, path: KeyPath) -> Span:
        return self.document.keys.get(path) or self.at(path)

    def error(self, code: str, message: str, span: Span, **more: object) -> None:
        self.diagnostics.error(code, message, span, **more)

    # The whole.

    def recipe(self) -> Recipe | None:
        values, before = self.document.values, len(self.diagnostics.errors)
        found: dict[str, Any] = {}
        for k in keys_of(Recipe):
            found[k.name] = self._field(k, values, ())
        for name, section in SECTIONS.items():
            found[name] = self._section(name, section, values.get(name, {}))
        for name in values:
            if name not in found:
                self._unknown(name, (name,), values[name])
        if not any(v is _BAD for v in found["data"].values()):
            self._data(found["data"])
        self._options(found)
        self._meshes(found["mesh"])
        if len(self.diagnostics.errors) > before or not self.document.whole:
            return None
        made = {
            name: SECTIONS[name](**value) if name in SECTIONS else value
            for name, value in found.items()
        }
        return Recipe(**made, file=self.file, places=self.places)

    def _section(self, name: str, section: type, values: Any) -> dict[str, Any]:
        path = (name,)
        needed = [k for k in keys_of(section) if k.required]
        if not values and needed and self.document.whole and path not in self.document.keys:
            self.diagnostics.error(
                "recipe-missing",
                f"{self.file} has no table [{name}]: {_lower(section.__doc__)}",
                help="\n".join([f"[{name}]", *(f"{k.name} = {k.example}" for k in needed)]),
            )
        if not isinstance(values, dict):
            self.error(
                "recipe-type",
                f"{name} must be a table; here it is {_said(values)}",
                self.at(path),
                help=f"[{name}]",
            )
            return {k.name: _BAD for k in keys_of(section)}
        if path in self.document.keys:
            self.places[name] = self.document.keys[path]
        known = list(keys_of(section))
        found: dict[str, Any] = {}
        names = {k.name for k in known if not k.rest}
        for k in known:
            if k.rest:
                rest = {n: v for n, v in values.items() if n not in names}
                found[k.name] = tuple(rest.items())
            else:
                found[k.name] = self._field(k, values, path)
        if not any(k.rest for k in known):
            for key in values:
                if key not in names:
                    self._unknown(key, (*path, key), values[key])
        return found

    def _field(self, k: Key, values: Mapping, table: KeyPath) -> Any:
        path = (*table, k.name)
        if k.name in values:
            return self.value(k.form, values[k.name], path)
        if not k.required:
            return k.default
        if self.document.whole and table in self.document.keys:
            self.error(
                "recipe-missing",
                f"[{table[0]}] needs {k.name}",
                self.at(table),
                facts=(f"{k.name}: {k.doc}",),
                help=f"{k.name} = {k.example}",
            )
        return _BAD

    # Values.

    def value(self, form: Form, value: Any, path: KeyPath) -> Any:
        """A value as its form holds it; `_BAD` if it is wrong, which is then reported."""
        if isinstance(form, Either):
            return self.value(_chosen(form, value), value, path)
        self.places[".".join(str(p) for p in path)] = self.at(path)
        if isinstance(form, Table):
            return self._table(form, value, path)
        readers: dict[type, Callable[..., Any]] = {
            Whole: self._whole,
            Real: self._real,
            Flag: self._flag,
            Text: self._text,
            Word: self._word,
            Axes: self._axes,
        }
        return readers[type(form)](form, value, path)

    def wrong(self, form: Form, value: Any, path: KeyPath, help: str = "") -> Any:
        """Report a value of another type."""
        name = _label(path)
        self.error(
            "recipe-type",
            f"{name} must be {form}; here it is {_said(value)}",
            self.at(path),
            help=f"{name.rpartition(' ')[2]} = {help}" if help else "",
        )
        return _BAD

    def _whole(self, form: Whole, value: Any, path: KeyPath) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            guess = value
            if isinstance(value, str):
                try:
                    guess = float(value)
                except ValueError:
                    guess = None
            fits = isinstance(guess, float) and math.isfinite(guess) and guess == int(guess)
            return self.wrong(form, value, path, str(int(guess)) if fits else "")
        low = form.least is not None and value < form.least
        if low or (form.most is not None and value > form.most):
            bound = f"at least {form.least}" if low else f"at most {form.most}"
            return self._range(path, bound, value)
        return value

    def _real(self, form: Real, value: Any, path: KeyPath) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            fits = isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", value)
            return self.wrong(form, value, path, str(value) if fits else "")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            return self._range(path, "a finite number", value)
        for bound, holds, words in (
            (form.least, form.least is None or number >= form.least, "at least"),
            (form.over, form.over is None or number > form.over, "over"),
            (form.below, form.below is None or number < form.below, "below"),
            (form.most, form.most is None or number <= form.most, "at most"),
        ):
            if not holds:
                return self._range(path, f"{words} {bound:g}", value)
        return number

    def _range(self, path: KeyPath, bound: str, value: Any) -> Any:
        said = str(value) if not isinstance(value, int) or abs(value) < 10**30 else "far beyond"
        self.error("recipe-range", f"{_label(path)} must be {bound}; it is {said}", self.at(path))
        return _BAD

    def _flag(self, form: Flag, value: Any, path: KeyPath) -> Any:
        if isinstance(value, bool):
            return value
        word = {"true": "true", "false": "false", "yes": "true", "no": "false", "1": "true",
                "0": "false"}.get(str(value).lower(), "")  # fmt: skip
        return self.wrong(form, value, path, word)

    def _text(self, form: Text, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, str):
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            return self.wrong(form, value, path, f'"{value}"' if plain else "")
        if not value.strip() or not value.isprintable() or len(value) > form.longest:
            why = (
                "is empty"
                if not value.strip()
                else f"has {len(value)} characters; at most {form.longest} are taken"
                if len(value) > form.longest
                else "has characters that cannot be printed"
            )
            written = self.document.text_at(path)
            self.error(
                "recipe-text",
                f"{_label(path)} {why}",
                self.at(path),
                help="in double quotes a backslash begins a special character: write / in paths"
                if "\\" in written and written.startswith('"')
                else "",
            )
            return _BAD
        return value

    def _word(self, form: Word, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, str):
            return self.wrong(form, value, path)
        value = form.also.get(value, value)
        if value in form.words:
            return value
        return self.choice(value, form.words, form.also, path)

    def choice(self, value: str, words: Iterable[str], also: Mapping, path: KeyPath) -> Any:
        """Report a word that is not one of those that there are."""
        words = list(words)
        close = [w for w in words if value and w.startswith(value.lower())][:1]
        close = close or nearest(value, [*words, *also])
        name = _label(path)
        self.error(
            "recipe-choice",
            f"{name} cannot be {_short(value)}",
            self.at(path),
            facts=(f"it can be {_listed(words)}",),
            help=f'{name.rpartition(" ")[2]} = "{also.get(close[0], close[0])}"' if close else "",
        )
        return _BAD

    def _axes(self, form: Axes, value: Any, path: KeyPath) -> Any:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            return self.wrong(form, value, path)
        axes = []
        for index, axis in enumerate(value):
            if not isinstance(axis, str):
                return self.wrong(form, axis, (*path[:-1], path[-1]))
            if axis in axes:
                self.error(
                    "recipe-axis-twice",
                    f"{axis} stands here twice; a dim lies along an axis once",
                    self.at((*path, index)),
                )
                return _BAD
            axes.append(axis)
            self.places[f"{'.'.join(map(str, path))}.{index}"] = self.at((*path, index))
        return tuple(axes)

    def _table(self, form: Table, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self.wrong(form, value, path)
        if form.paths:
            entries = list(_by_path(value, path, isinstance(form.value, Table)))
        else:
            entries = [(k, v, (*path, k)) for k, v in value.items()]
        found: dict[Any, Any] = {}
        firsts: dict[Any, KeyPath] = {}
        for name, held, where in entries:
            if form.keys == "steps":
                if not re.fullmatch(r"[0-9]{1,12}", name):
                    self.error(
                        "recipe-type",
                        f"a step is a whole number, but here it is {_short(name)}",
                        self.key_at(where),
                    )
                    continue
                name = int(name)
            if name in found:
                self.error(
                    "recipe-twice",
                    f"{name} is given twice",
                    self.key_at(where),
                    caption="the second time",
                    places=(Place(self.key_at(firsts[name]), "the first time"),),
                )
                continue
            read = self.value(form.value, held, where)
            self.places[".".join([*map(str, path), str(name)])] = self.key_at(where)
            found[name], firsts[name] = read, where
        return tuple((k, v) for k, v in found.items() if v is not _BAD)  # the rest is reported

    # What is not known.

    def _unknown(self, name: str, path: KeyPath, value: Any) -> None:
        """Report a key that no table of the schema has."""
        table = str(path[0]) if len(path) > 1 else ""
        known = [k.name for k in keys_of(SECTIONS[table])] if table else _top()
        if isinstance(value, dict) and not table:
            self._unknown_table(name, path)
            return
        close = nearest(name, known)
        if not close and SYNONYMS.get(name.lower()) in known:
            close = [SYNONYMS[name.lower()]]
        elsewhere = _homes(SYNONYMS.get(name.lower(), name))
        help = ""
        if name in ADVICE:
            help = ADVICE[name]
        elif name in _homes_of_all() and elsewhere:
            help = f"put it under [{elsewhere[0]}]"
        elif close:
            help = f"{close[0]} = {_as_toml(value)}"
        elif elsewhere:
            help = f"{SYNONYMS.get(name.lower(), name)} under [{elsewhere[0]}]"
        where = f"[{table}]" if table else "the top of a recipe"
        self.error(
            "recipe-unknown-key",
            f"{where} has no key {_short_name(name)}",
            self.key_at(path),
            facts=(f"{where} takes {', '.join(known)}",),
            help=help,
        )

    def _unknown_table(self, name: str, path: KeyPath) -> None:
        tables = _tables()
        close = nearest(name, tables)
        other = {
            "training": "train", "model": "", "dataset": "data", "optim": "optimizer",
            "opt": "optimizer", "scheduler": "schedule", "lr_schedule": "schedule",
            "sharding": "mesh", "dims": "sizes", "parallel": "mesh",
        }.get(name.lower(), "")  # fmt: skip
        if other:
            close = [other]
        self.error(
            "recipe-unknown-table",
            f"a recipe has no table {_short_name(name)}",
            self.key_at(path),
            facts=(f"its tables are {', '.join(tables)}",),
            help=f"[{close[0]}]" if close else ADVICE.get(name, ""),
        )

    # What several keys must agree on.

    def _data(self, data: dict[str, Any]) -> None:
        kind, at = data["kind"], ("data", "kind")
        if data["scale"] and kind != "arrays":
            self.error(
                "recipe-kind",
                f'scale is for kind = "arrays"; this is kind = "{kind}"',
                self.key_at(("data", "scale")),
                places=(Place(self.at(at), ""),),
            )
        if kind == "text" and isinstance(data["held_out"], int) and data["held_out"]:
            self.error(
                "recipe-range",
                f"of text, held_out is a fraction below 1; it is {data['held_out']}",
                self.at(("data", "held_out")),
                help="held_out = 0.1",
            )
        offers = OFFERS.get(kind, ())
        for name, offer in data["fields"]:
            if offers and offer not in offers:
                self.choice(offer, offers, {}, ("data", "fields", name))
        self._file(data["file"])

    def _file(self, name: str) -> None:
        folder = Path(self.file).parent
        path = folder / name
        span = self.at(("data", "file"))
        if path.is_file():
            return
        if path.is_dir():
            inside = sorted(p.name for p in path.iterdir() if p.is_file())[:8]
            self.error(
                "recipe-data",
                f"{name} is a folder; the data are one file",
                span,
                facts=(f"in it are {', '.join(inside)}",) if inside else (),
            )
            return
        there = [
            p.relative_to(folder).as_posix()
            for p in [*folder.glob("*"), *folder.glob("data/*"), *path.parent.glob("*")]
            if p.is_file() and p.is_relative_to(folder) and p.suffix not in (".nw", ".md", ".toml")
        ]
        close = nearest(name, there) or nearest(Path(name).name, [Path(t).name for t in there])
        close = [t for t in there if t in close or Path(t).name in close][:1]
        self.error(
            "recipe-data",
            f"there is no file {name}",
            span,
            facts=(f"it is looked for from the recipe's folder, {folder.resolve().name}",),
            help=f'file = "{close[0]}"' if close else "",
        )

    def _options(self, found: dict[str, Any]) -> None:
        optimizer, schedule = found["optimizer"], found["schedule"]
        name = optimizer["name"]
        if name is not _BAD:
            table = OPTIMIZERS.get(name) or _installed(name)
            if table is None and name not in OPTIMIZERS:
                self.choice(name, OPTIMIZERS, {}, ("optimizer", "name"))
            else:
                optimizer["options"] = self._rest("optimizer", name, table or {}, optimizer)
        name = schedule["name"]
        if name is not _BAD:
            kind = SCHEDULES[name]
            schedule["options"] = self._rest("schedule", name, kind.options, schedule, kind.rate)
            if self.document.whole:
                self._required(name, kind.options, schedule["options"])
            self._warmup(found)
        self._decay(optimizer)

    def _decay(self, optimizer: dict[str, Any]) -> None:
        """Whether the optimizer can be told what not to shrink."""
        name = optimizer["name"]
        if any(v is _BAD for v in optimizer.values()) or name in DECAY_MASKS:
            return
        if Optimizer(**optimizer).decay is not None and optimizer["decay_on"] != "all":
            option = next(o for o in DECAYS if o in dict(optimizer["options"]))
            self.error(
                "recipe-decay",
                f"{name} shrinks all parameters, and cannot leave out biases and scales",
                self.key_at(("optimizer", option)),
                help='decay_on = "all" says that this is meant',
            )

    def _rest(
        self, table: str, name: str, known: Mapping[str, Any], values: dict, rate: str = ""
    ) -> Any:
        """The options of an optimizer or schedule."""
        read: dict[str, Any] = {}
        for option, value in values["options"]:
            path = (table, option)
            if option in known:
                read[option] = self.value(option_form(option, known[option]), value, path)
                continue
            if option == rate:
                self.error(
                    "recipe-unknown-key",
                    f"{option} is the learning_rate of [optimizer]",
                    self.key_at(path),
                    help=f"learning_rate = {_as_toml(value)} under [optimizer]",
                )
                continue
            own = [k.name for k in keys_of(SECTIONS[table]) if not k.rest]
            choices = [*own, *known]
            other = SYNONYMS.get(option.lower())
            close = [other] if other in choices else nearest(option, choices)
            homes = [h for h in _homes(other or option) if h != table]
            having = _having(table, option)
            if option in ADVICE:
                help = ADVICE[option]
            elif having:
                help = f"{', '.join(having)} {'has' if len(having) == 1 else 'have'} it"
            elif homes:
                help = f"put it under [{homes[0]}]"
            else:
                help = f"{close[0]} = {_as_toml(value)}" if close else ""
            self.error(
                "recipe-unknown-key",
                f"{name} has no option {_short_name(option)}",
                self.key_at(path),
                facts=(f"[{table}] takes {', '.join(own)}"
                       + (f"; {name} also takes {', '.join(known)}" if known else ""),),
                help=help,
            )  # fmt: skip
        return _BAD if any(v is _BAD for v in read.values()) else tuple(read.items())

    def _required(self, name: str, known: Mapping[str, Any], given: Any) -> None:
        for option, default in known.items():
            if default == REQUIRED and ("schedule", option) not in self.document.at:
                example = {"warmup_steps": "100", "decay_rate": "0.9", "power": "2.0"}.get(
                    option, "{ 1000 = 0.1 }"
                )
                self.error(
                    "recipe-missing",
                    f"the schedule {name} needs {option}",
                    self.at(("schedule", "name")),
                    facts=(f"{name}: {SCHEDULES[name].doc}",),
                    help=f"{option} = {example}",
                )

    def _warmup(self, found: dict[str, Any]) -> None:
        options, steps = found["schedule"]["options"], found["train"]["steps"]
        if options is _BAD or steps is _BAD:
            return
        known = SCHEDULES[found["schedule"]["name"]].options
        table = dict(options)
        warmup = table.get("warmup_steps")
        if warmup is None or known.get("decay_steps") != STEPS:
            return
        decay = table.get("decay_steps", steps)
        if warmup >= decay:
            other = ("schedule", "decay_steps")
            other = other if other in self.document.at else ("train", "steps")
            places = (Place(self.at(other), ""),) if other in self.document.at else ()
            what = "decay_steps" if other[0] == "schedule" else "the steps of [train]"
            self.error(
                "recipe-range",
                f"warmup_steps must be below {what}, {decay}; it is {warmup}",
                self.at(("schedule", "warmup_steps")),
                places=places,
                facts=("decay_steps counts the steps of the warm-up too; left out, it is steps",),
            )

    def _meshes(self, mesh: dict[str, Any]) -> None:
        axes = mesh["axes"]
        if axes is _BAD:
            return
        names = [name for name, _ in axes]
        for name in names:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                self.error(
                    "recipe-axis",
                    f"{_short(name)} is no name for an axis: letters, digits and _ are",
                    self.key_at(("mesh", "axes", name)),
                )
        tables = [(f"mesh.{n}", mesh[n]) for n in ("values", "params") if mesh[n] is not _BAD]
        if mesh["overrides"] is not _BAD:
            tables += [(f"mesh.overrides.{path}", rules) for path, rules in mesh["overrides"]]
        for where, rules in tables:
            for dim, used in rules:
                for index, axis in enumerate(used):
                    if axis in names:
                        continue
                    place = self.places.get(f"{where}.{dim}.{index}")
                    span = place or self.at(tuple(where.split(".")))
                    close = nearest(axis, names)
                    self.error(
                        "recipe-axis",
                        f"the mesh has no axis {_short(axis)}",
                        span,
                        facts=(f"its axes are {', '.join(names)}" if names else "it has no axes",),
                        help=f'{dim} = "{close[0]}"' if close and len(used) == 1 else (
                            f"did you mean {close[0]}?" if close
                            else "" if names else f"[mesh] axes = {{ {axis} = 2 }}"
                        ),
                    )  # fmt: skip


def _chosen(form: Either, value: Any) -> Form:
    """The form that a value is meant in."""
    for choice in form.forms:
        kinds = {Whole: int, Real: float, Text: str, Word: str, Table: dict, Axes: list}
        if isinstance(value, kinds.get(type(choice), object)) and not isinstance(value, bool):
            return choice
    return form.forms[-1]


def _by_path(values: Mapping, path: KeyPath, nested: bool):
    """Paths and what is said of them: `gpt.norm` is a table in a table, and "gpt.norm" is not."""

    def leaf(value: Any) -> bool:
        if not nested:
            return not isinstance(value, dict)
        return not isinstance(value, dict) or any(not isinstance(v, dict) for v in value.values())

    for name, value in values.items():
        where = (*path, name)
        if leaf(value) or not value:
            yield name, value, where
        else:
            for inner, held, at in _by_path(value, where, nested):
                yield f"{name}.{inner}", held, at


def _installed(name: str) -> dict[str, Any] | None:
    """The options of an optimizer that is not in our table, asked of optax itself."""
    import inspect

    try:
        import optax
    except ImportError:
        return None
    function = getattr(optax, name, None) if not name.startswith("_") else None
    if not inspect.isfunction(function) or name.startswith("scale_by"):
        return None
    parameters = inspect.signature(function).parameters
    if "learning_rate" not in parameters:
        return None
    return {
        p.name: p.default
        for p in parameters.values()
        if p.name != "learning_rate" and isinstance(p.default, bool | int | float | None)
    }


def _having(table: str, option: str) -> list[str]:
    """The optimizers or schedules that have an option."""
    if table == "optimizer":
        return [name for name, options in OPTIMIZERS.items() if option in options]
    return [name for name, kind in SCHEDULES.items() if option in kind.options]


def _top() -> list[str]:
    return [k.name for k in keys_of(Recipe) if not isinstance(k.form, Table)]


def _tables() -> list[str]:
    return [*SECTIONS, *(k.name for k in keys_of(Recipe) if isinstance(k.form, Table))]


def _homes(name: str) -> list[str]:
    """The tables that have a key of this name."""
    found = [
        table
        for table in ("train", *(t for t in SECTIONS if t != "train"))
        if any(k.name == name and not k.rest for k in keys_of(SECTIONS[table]))
    ]
    if any(name in options for options in OPTIMIZERS.values()):
        found.append("optimizer")
    if any(name in kind.options for kind in SCHEDULES.values()):
        found.append("schedule")
    return found


def _homes_of_all() -> set[str]:
    names = {k.name for s in SECTIONS.values() for k in keys_of(s) if not k.rest}
    names |= {o for options in OPTIMIZERS.values() for o in options}
    return names | {o for kind in SCHEDULES.values() for o in kind.options}


def _listed(words: Iterable[str]) -> str:
    words = [f'"{w}"' for w in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _short_name(name: str) -> str:
    return name if re.fullmatch(r"[\w.\-]{1,60}", name) else _short(name)


def _label(path: KeyPath) -> str:
    """A key as messages call it: without its table, but with it where it is only a `name`."""
    parts = [str(p) for p in path]
    for table in ("precision.overrides", "mesh.overrides", "roll"):
        cut = table.count(".") + 1
        if ".".join(parts[:cut]) == table and len(parts) > cut:
            return ".".join(_bare(p) for p in parts[cut:])
    if parts[-1] == "name" and len(parts) > 1:
        return f"[{parts[0]}] name"
    return _bare(parts[-1])


def _bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


def _lower(text: str | None) -> str:
    text = (text or "").strip().split(".")[0]
    return text[:1].lower() + text[1:]


def _as_toml(value: Any) -> str:
    plain = isinstance(value, bool | int | float | str)
    return toml(value, Text()) if plain and len(str(value)) <= 40 else "…"
