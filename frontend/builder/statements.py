"""What stands in a layer beside expressions: dims, parameters, states, metrics, branches, scans."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..wording import count, listed
from .brackets import bracketed
from .checks import checked, identifier, in_layer
from .expressions import CURRENT, Const, Dim, Expr, Fixed, Value, made
from .forms import Literal, Ref
from .mistakes import mistake
from .source import Site, user_frame
from .trace import (
    Arm,
    Block,
    Branching,
    Carried,
    LocalDims,
    Reporting,
    Scanning,
    Trace,
    Variable,
)
from .types import array_type


def dims(names: str = "", **sizes: Any) -> Any:
    """Dims by name: `B, S = nw.dims("B S")`, `D, F = nw.dims(D=128, F=384)`.

    Outside of a layer they are the glossary: what has no size is bound by the data, an arrow, or
    where a layer is used. Inside of a layer they are the layer's own.

    Args:
        names: of dims without a size, with blanks between them.
        sizes: of dims with one: whole numbers, or expressions of other dims.

    Returns:
        A dim, or several in the order in which they are named.

    Raises:
        InputError: a name or a size is none.
    """
    frame = user_frame()
    site = Site.of(frame)
    trace = CURRENT.get()
    if trace is not None:
        trace.event(frame)
    found = []
    for name in names.replace(",", " ").split():
        _check_dim(name, site)
        if trace is not None:
            raise mistake(
                "free-dim-in-layer",
                f"{name} needs a size: only dims outside of layers go without",
                site,
                help=f"{name} = nw.dims({name}=…)",
            )
        found.append(Dim(name, None, _in_text(name, site)))
    for name, size in sizes.items():
        at = site.keyword(name)
        _check_dim(name, site.keyword(name, whole=True))
        if isinstance(size, bool) or not isinstance(size, int | Expr):
            shown = repr(size) if isinstance(size, float | str | bool) else type(size).__name__
            raise mistake(
                "not-a-size",
                f"a size is a whole number or made of dims; this is {shown}",
                at,
            )
        if isinstance(size, int) and size < 1:
            raise mistake("not-a-size", f"a size is at least 1; this is {size}", at)
        dim = Dim(name, checked(size, at, trace), site.keyword(name, whole=True))
        found.append(dim)
    if not found:
        raise mistake("not-a-dim", "nw.dims needs names", site, help='B, S = nw.dims("B S")')
    if trace is not None:
        trace.local += found
        trace.block.add(LocalDims(tuple(found), site))
    return found[0] if len(found) == 1 else tuple(found)


def _check_dim(name: str, site: Site) -> None:
    if not identifier(name):
        raise mistake("not-a-dim", f"a dim cannot be called {name!r}", site)
    if not name[0].isupper():
        raise mistake(
            "lower-case-dim",
            f"a dimension starts with a capital letter: `{name}` does not",
            site,
            facts=("a number that is no dimension is a nw.const, or Python's own",),
            help=name[0].upper() + name[1:],
        )


def _in_text(name: str, site: Site) -> Site:
    """The place of a name in the text that `nw.dims` was given."""
    from ...ir.diagnostics import Span

    node = site.node.args[0] if isinstance(site.node, ast.Call) and site.node.args else None
    if not isinstance(node, ast.Constant) or node.lineno != node.end_lineno:
        return site
    s = site.source.span(node)
    words = site.source.rows[s.line - 1][s.column - 1 : s.end_column - 1]
    for start in range(len(words)):
        before, after = words[start - 1 : start], words[start + len(name) : start + len(name) + 1]
        if words.startswith(name, start) and not (before + after).isalnum():
            at = s.column + start
            return Site(site.source, Span(s.file, s.line, at, s.line, at + len(name)))
    return site


def const(**values: Any) -> Any:
    """Constants that settings can change: `drop = nw.const(drop=0.1)`.

    Args:
        values: numbers, true or false, or expressions of other constants and dims.

    Returns:
        A constant, or several in the order in which they are named.

    Raises:
        InputError: it stands in a layer, or a name or value is none.
    """
    site = Site.here()
    found = []
    for name, value in values.items():
        at = site.keyword(name, whole=True)
        if not identifier(name):
            raise mistake("wrong-name", f"a constant cannot be called {name!r}", at)
        if name[0].isupper():
            raise mistake(
                "upper-case-const",
                f"`{name}` starts with a capital letter, as dimensions do",
                at,
                help=f"nw.const({name.lower()}=…)",
            )
        found.append(Const(name, checked(value, site.keyword(name), None), at))
    if CURRENT.get() is not None:
        raise mistake("const-in-layer", "constants stand outside of layers", site, help="x = 0.1")
    if not found:
        raise mistake("wrong-name", "nw.const needs names", site, help="drop = nw.const(drop=0.1)")
    return found[0] if len(found) == 1 else tuple(found)


def _variable(kind: str, name: str, type_: Any, init: Any) -> Fixed:
    frame = user_frame()
    trace = in_layer(f"nw.{kind}", frame)
    site = Site.of(frame)
    if not isinstance(name, str) or not identifier(name):
        raise mistake(
            "wrong-name",
            f"a {kind} cannot be called {name!r}",
            site,
            help=f'scale = nw.{kind}("scale", [D], nw.ones())',
        )
    places = site.arguments(3)
    fixed = Fixed(trace, kind, name, site)
    value = Ref(checked(init, places[2], trace), places[2])
    trace.block.add(Variable(fixed, array_type(type_, places[1]), value, site))
    return fixed


def param(name: str, dims: Any, init: Any) -> Fixed:
    """A parameter: `w = nw.param("w", [D, F], nw.normal(0.02))`.

    Args:
        name: its place in the tree of parameters, below the layer's instance.
        dims: a list of dims.
        init: a number, or an expression of constants, `index` and random ops.

    Raises:
        InputError: it does not stand in a layer.
    """
    return _variable("param", name, dims, init)


def state(name: str, dims: Any, init: Any) -> Fixed:
    """A state, which is updated outside of the gradient: `average << value`.

    Its name means its newest value, wherever it is read.

    Args:
        name: its place in the tree of states.
        dims: a list of dims, or a type such as `nw.i[D]`.
        init: as of a parameter.

    Raises:
        InputError: it does not stand in a layer.
    """
    return _variable("state", name, dims, init)


def metric(name: str, value: Any) -> None:
    """Report a scalar: `nw.metric("accuracy", nw.mean[B](right))`.

    Raises:
        InputError: it does not stand in a layer.
    """
    frame = user_frame()
    trace = in_layer("nw.metric", frame)
    site = Site.of(frame)
    if not isinstance(name, str) or not identifier(name):
        raise mistake("wrong-name", f"a metric cannot be called {name!r}", site)
    at = site.arguments(2)[1]
    trace.block.add(Reporting(name, Ref(checked(value, at, trace), at), site))


def value(given: Any) -> Value:
    """A value of its own: of a number, which a branch may choose, or of a state as it is now.

    Raises:
        InputError: it does not stand in a layer.
    """
    frame = user_frame()
    trace = in_layer("nw.value", frame)
    site = Site.of(frame)
    at = site.arguments(1)[0]
    return made(trace, Literal(Ref(checked(given, at, trace), at)), site)


class _Train:
    """`nw.train`: whether the model is being trained; asked by `nw.cond`."""

    def __init__(self, negated: bool = False):
        self.negated = negated

    def __invert__(self) -> _Train:
        return _Train(not self.negated)

    def __bool__(self) -> bool:
        raise mistake(
            "if-on-value",
            "whether the model is being trained is not known here",
            Site.here(),
            help="m = nw.cond(nw.train, lambda: nw.mean[...](x), lambda: average)",
        )

    def __repr__(self) -> str:
        return "nw.train"


train = _Train()


def cond(
    condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any] | None = None
) -> Any:
    """A branch on `nw.train`, or on constants and sizes, which is settled before anything runs.

    Both functions are called once, and what each does belongs to its side of the branch:
    `m, v = nw.cond(nw.train, measured, lambda: (average, variance))`. What is needed after the
    branch is returned, by both the same number of values.

    Args:
        condition: `nw.train`, `~nw.train`, or an expression of constants and dims; where it is
            Python's own True or False, only one of the functions is called.
        then, otherwise: functions without arguments. Without `otherwise`, nothing may be returned.

    Returns:
        What the functions return: nothing, a value, or a tuple of values.

    Raises:
        InputError: it does not stand in a layer, or the functions return different numbers.
    """
    frame = user_frame()
    trace = in_layer("nw.cond", frame)
    site = Site.of(frame)
    if isinstance(condition, bool):
        if condition:
            return then()
        return None if otherwise is None else otherwise()
    places = site.arguments(2 if otherwise is None else 3)
    asked: Any = condition
    if not isinstance(condition, _Train):
        asked = checked(condition, places[0], trace)
    arms: list[Arm] = []
    shapes: list[int | None] = []
    for function in (then, otherwise):
        arm = Arm(Block())
        arms.append(arm)
        if function is None:
            shapes.append(None)
            continue
        with trace.inside(arm.block):
            result, at = trace.call(function)
        shapes.append(len(result) if isinstance(result, tuple) else None if result is None else 1)
        arm.returned = _refs(trace, result, at or site)
    if shapes[0] != shapes[1]:
        said = [f"{n or 'no'} value{'' if n == 1 else 's'}" for n in shapes]
        raise mistake(
            "branches-differ",
            f"the branches give different things: {said[0]} and {said[1]}",
            site,
            facts=("names that a branch assigns are its own: what is needed after it is returned",),
        )
    results = tuple(Value(trace, None, site) for _ in arms[0].returned)
    trace.waiting += results
    trace.block.add(Branching(Ref(asked, places[0]), tuple(arms), results, site))
    if shapes[0] is None:
        return None
    return results if isinstance(result, tuple) else results[0]


def _refs(trace: Trace, result: Any, site: Site) -> tuple[Ref, ...]:
    """What a function returned, with the places where it did."""
    if result is None:
        return ()
    given = result if isinstance(result, tuple | list) else (result,)
    node = site.node.value if isinstance(site.node, ast.Return) else site.node
    site = site.part(node)
    places = [site] * len(given)
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) == len(given):
        places = [site.part(e) for e in node.elts]
    elif isinstance(node, ast.Tuple | ast.List) and len(given) == 1:
        places = [site]
    return tuple(Ref(checked(v, s, trace), s) for v, s in zip(given, places, strict=True))


class Scan:
    """`nw.scan`, perhaps with the dim that it runs along."""

    def __init__(self, along: Ref | None = None):
        self.along = along

    def __getitem__(self, key: Any) -> Scan:
        site = Site.here()
        (item, *rest) = bracketed(key, site)
        if rest or item.right is not None or not isinstance(item.left.value, Dim):
            raise mistake("wrong-brackets", "nw.scan runs along one dim", site)
        return Scan(item.left)

    def __call__(
        self, step: Callable, /, *, carry: Mapping[str, Any] | None = None, **inputs: Any
    ) -> Any:
        """Run along a dim: `(h, c), ys = nw.scan[S](step, carry=dict(h=h0, c=c0), x=xs)`.

        Args:
            step: is called once, with the inputs at a step and what is carried, by name. It
                returns what is carried on and what is emitted, as `(h, c), y` in the order of
                `carry`; `None` stands for nothing, and what is one needs no tuple.
            carry: what is carried from step to step begins as.
            inputs: what is read step by step; each has the dim.

        Returns:
            The last of what is carried, and what is emitted, stacked along the dim.
        """
        frame = user_frame()
        trace = in_layer("nw.scan", frame)
        site = Site.of(frame)
        if self.along is None:
            raise mistake(
                "wrong-brackets",
                "nw.scan needs the dim that it runs along",
                site,
                help="nw.scan[S](step, carry=dict(h=h0), x=xs)",
            )
        given = []
        for name, value in inputs.items():
            at = site.keyword(name)
            ref = Ref(checked(value, at, trace), at)
            given.append((name, ref, Value(trace, None, site.keyword(name, True), name)))
        carried = []
        names = _carry_places(site)
        for name, value in (carry or {}).items():
            whole, at = names.get(name, (site, site))
            ref = Ref(checked(value, at, trace), at)
            at_step, last = (Value(trace, None, whole, name) for _ in range(2))
            carried.append(Carried(name, ref, at_step, last))
        record = Scanning(self.along, tuple(given), tuple(carried), Block(), site)
        steps = {name: value for name, _, value in given} | {c.name: c.step for c in carried}
        with trace.inside(record.block):
            result, returned_at = trace.call(step, **steps)
            self._returned(trace, record, result, returned_at or site, carry)
        record.results = tuple(Value(trace, None, site) for _ in record.emitted)
        trace.waiting += record.results
        trace.block.add(record)
        after = tuple(c.last for c in carried)
        emitted: Any = record.results
        if not isinstance(result[1], tuple | list):
            emitted = emitted[0] if emitted else None
        return (after[0] if len(after) == 1 else after or None), emitted

    def _returned(self, trace: Trace, record: Scanning, result: Any, at: Site, carry) -> None:
        if not isinstance(result, tuple) or len(result) != 2:
            raise mistake(
                "scan-returns",
                "the function of a scan returns two things: what is carried on, what is emitted",
                at,
                help=f"return {_joined(carry)}, y",
            )
        node = at.node.value if isinstance(at.node, ast.Return) else None
        halves = [at, at]
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            halves = [at.part(e) for e in node.elts]
        on = _refs(trace, result[0], halves[0])
        record.emitted = _refs(trace, result[1], halves[1])
        if len(on) != len(record.carry):
            names = [c.name for c in record.carry]
            raise mistake(
                "scan-returns",
                f"the scan carries {listed(names) if names else 'nothing'}, but its function hands "
                f"on {count(len(on), 'value') if on else 'nothing'}",
                halves[0],
                help=f"return {_joined(names)}, …",
            )
        for one, ref in zip(record.carry, on, strict=True):
            one.next = ref


def _joined(names: Iterable[str]) -> str:
    """What is carried, as it is returned."""
    given = list(names or ())
    return given[0] if len(given) == 1 else f"({', '.join(given)})" if given else "None"


def _carry_places(site: Site) -> dict[str, tuple[Site, Site]]:
    """Where each thing that is carried stands: the name with its first value, and that value."""
    node = site.keyword("carry").node
    if isinstance(node, ast.Call):
        return {k.arg: (site.part(k), site.part(k.value)) for k in node.keywords if k.arg}
    if isinstance(node, ast.Dict):
        return {
            k.value: (site.part(k), site.part(v))
            for k, v in zip(node.keys, node.values, strict=True)
            if isinstance(k, ast.Constant) and isinstance(k.value, str)
        }
    return {}


scan = Scan()
