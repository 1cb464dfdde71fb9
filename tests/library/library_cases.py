"""Layers of the standard library against Flax, or against a formula, in every pair of options.

A `Layer` says how a layer is used, which options it has and what each may be, and gives a
`reference`: a function of the same parameters and inputs. `compare` writes one small model for
every choice of options, emits it as the backend does, runs it eagerly, and demands of its results,
its new state and its gradients with regard to all parameters and float inputs that they equal the
reference's. As the reference takes the parameters as the emitted program holds them, and reshapes
them for Flax, its gradients come back in the same form.
"""

from __future__ import annotations

import inspect
import itertools
import math
import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from netwright.backend.model import ModelWriter
from netwright.driver import compile_module
from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import loads
from netwright.ir.core import Module
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.plan import Plan, Precision
from netwright.passes.check import check

PRODUCT = 6  # up to so many combinations are all tried; of more, enough to cover every pair
TURNS = 3
FEW, TRIES = 20, 300  # tries at a choice: with care, and in all while none makes sense


@dataclass(frozen=True)
class Case:
    """One choice of options of a layer.

    Attributes:
        options: by name, as Python values where they are numbers, true, false or none, else as
            they are written.
        sizes: by name, of the dims.
        train: whether the layer runs in training.
    """

    options: Mapping[str, Any]
    sizes: Mapping[str, int]
    train: bool


Reference = Callable[[Case, Any, Any, dict[str, Any]], Any]


@dataclass(frozen=True)
class Layer:
    """A layer, how it is used, and what it must equal.

    Attributes:
        name: as a model writes it, `core.Linear`.
        arguments: types by name, `{"x": "[B, S, D]", "ids": "int[B]"}`.
        results: the types of what it gives, `"[B, S, F]"`.
        reference: (case, params, state, inputs) -> results, or (results, state) of a layer that
            has state. Params and state are those of the layer; several results are a tuple.
        dims: the brackets of its use, `"[D -> F, Rank = {Rank}]"`; "" for none. An item in which
            an option stands in braces is left out where that is None.
        options: what each may be, as it is written; the first is what a model gets that says
            nothing, and is then left out. An option that begins with a capital is the size of a
            dim, one that is named like an argument says whether it is given, and `train` whether
            the layer runs in training.
        alias: of dims that a use may leave out: what then stands for them in types.
        always: options that have no default, and so are always written.
        sizes: of dims; `SIZES` has others.
        draw: (rng, shape) -> an input, for those that are not just normal numbers, or ints below
            the size of V, or bools.
        params: (rng, params) -> params, for those that are not just normal numbers.
        body: the lines of the model's body, where they are not a use and a call of the layer `it`.
        imports: what the model imports besides the chapter.
        valid: whether a choice of options makes sense.
        gradients: whether gradients are compared.
        double: the tolerance in float64.
    """

    name: str
    arguments: Mapping[str, str]
    results: str
    reference: Reference
    dims: str = ""
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    always: Sequence[str] = ()
    alias: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    draw: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    params: Callable[..., Any] | None = None
    body: Sequence[str] = ()
    imports: Sequence[str] = ()
    valid: Callable[[Mapping[str, Any]], bool] = lambda options: True
    gradients: bool = True
    double: float = 1e-10


SIZES = {"B": 2, "S": 4, "D": 6, "F": 8, "V": 7}


def choices(layer: Layer) -> list[dict[str, Any]]:
    """Choices of options in which every value of every pair of options meets."""
    names, values = list(layer.options), [tuple(v) for v in layer.options.values()]
    places = range(len(names))

    def named(choice: Sequence[int]) -> dict[str, Any]:
        return {names[i]: values[i][choice[i]] for i in places}

    def fine(choice: Sequence[int]) -> bool:
        return layer.valid(_meant(named(choice)))

    if math.prod(map(len, values)) <= 1000:
        product = [c for c in itertools.product(*(range(len(v)) for v in values)) if fine(c)]
        if len(product) <= PRODUCT:
            return [named(choice) for choice in product]
    every = [
        (i, a, j, b)
        for i, j in itertools.combinations(places, 2)
        for a, b in itertools.product(range(len(values[i])), range(len(values[j])))
    ]
    left, found, rng = set(every), [], random.Random(0)
    for pair in every:  # one that has not met, and what makes most others meet; a few tries at each
        if pair not in left:
            continue
        tries: list[list[int]] = []
        for number in range(TRIES):
            if number >= FEW and tries:
                break
            choice = _around(pair, values, left, rng, greedy=number < FEW)
            tries += [choice] if fine(choice) else []
        if tries:
            best = max(tries, key=lambda c: len(_pairs(c) & left))
            left -= _pairs(best)
            found.append(named(best))
        left.discard(pair)
    return found


def _around(pair, values, left: set[tuple], rng: random.Random, greedy: bool) -> list[int]:
    """A choice with two options as told, the others such that many pairs meet, or anyhow."""
    i, a, j, b = pair
    chosen = {i: a, j: b}
    for k in rng.sample(range(len(values)), len(values)):
        if k in chosen:
            continue
        tries = rng.sample(range(len(values[k])), len(values[k]))
        chosen[k] = max(tries, key=lambda v: _new(k, v, chosen, left)) if greedy else tries[0]
    return [chosen[k] for k in range(len(values))]


def _new(k: int, value: int, chosen: Mapping[int, int], left: set[tuple]) -> int:
    """How many pairs meet for the first time if option k has a value."""
    return sum(((i, v, k, value) if i < k else (k, value, i, v)) in left for i, v in chosen.items())


def _pairs(choice: Sequence[int]) -> set[tuple]:
    return {(i, a, j, b) for (i, a), (j, b) in itertools.combinations(enumerate(choice), 2)}


def _meant(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Options as Python values."""
    return {name: _value(written) for name, written in choice.items()}


def _value(written: Any) -> Any:
    words = {"true": True, "false": False, "none": None}
    if not isinstance(written, str) or written in words:
        return words.get(written, written)
    for kind in (int, float):
        try:
            return kind(written)
        except ValueError:
            continue
    return written


def model_text(layer: Layer, choice: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """The model in which a layer is used with a choice of options, and its sizes."""
    sizes = {**SIZES, **layer.sizes}
    sizes |= {n: int(v) for n, v in choice.items() if n[0].isupper() and str(v).isdecimal()}
    left = {n: other for n, other in layer.alias.items() if choice.get(n) is None}
    sizes |= {name: sizes[other] for name, other in left.items() if other in sizes}
    options = [
        f"{name} = {written}"
        for name, written in choice.items()
        if not (name[0].isupper() or name in layer.arguments or name == "train")
        and (name in layer.always or written != layer.options[name][0])
    ]

    def typed(type_: str) -> str:
        return re.sub(r"[A-Z]\w*", lambda word: left.get(word[0], word[0]), type_)

    items = [
        item
        for item in layer.dims.strip("[]").split(", ")
        if item and not any(choice[name] is None for name in re.findall(r"{(\w+)}", item))
    ]
    use = layer.name + (f"[{', '.join(items)}]" if items else "").replace("{", "").replace("}", "")
    use += f"({', '.join(options)})" if options else ""
    arguments = [n for n in layer.arguments if choice.get(n, True)]
    first = next(iter(layer.arguments), "")
    call = ", ".join(n if n == first else f"{n} = {n}" for n in arguments)
    takes = ", ".join(f"{n}: {typed(layer.arguments[n])}" for n in arguments)
    body = [line.format(use=use) for line in layer.body]
    lines = [f"import {name}" for name in dict.fromkeys((layer.name.split(".")[0], *layer.imports))]
    lines += ["dims:", f"    {', '.join(f'{n} = {s}' for n, s in sizes.items())}"]
    lines += [f"model Case({takes}) -> {typed(layer.results)}:"]
    lines += [f"    {line}" for line in body or (f"use it = {use}", f"return it({call})")]
    return "\n".join(lines) + "\n", sizes


def module_of(text: str) -> Module:
    """The checked module of a model.

    Raises:
        InputError: it has mistakes.
    """
    diagnostics = Diagnostics()
    file = loads(text, diagnostics)
    module = elaborate(file, diagnostics) if file is not None else None
    diagnostics.raise_errors()
    assert module is not None
    return check(module)


class Emitted:
    """The functions of an emitted `model.py`, with dtype float32 or float64."""

    def __init__(self, module: Module, dtype: str = "float32"):
        plan = Plan(precision=Precision(dtype))
        writer = ModelWriter(compile_module(module, plan), plan, "model.nw")
        self.text = writer.write()
        names: dict[str, Any] = {}
        exec(compile(self.text, "model.py", "exec"), names)
        self.entry = names[writer.names[("", 0)]]
        self.init_params, self.init_state = names["init_params"], names["init_state"]
        self.takes = list(inspect.signature(self.entry).parameters)
        self.inputs = [v.label for v in module.instances[0].variants[0].inputs]

    def __call__(self, params, state, inputs: dict[str, Any], *, train=False, key=None) -> Any:
        """The results, and the new state of a model that has state."""
        given = {"params": params, "state": state, "train": train, "key": key}
        rest = iter(self.inputs)
        return self.entry(*(given[n] if n in given else inputs[next(rest)] for n in self.takes))


def drawn(layer: Layer, case: Case, emitted: Emitted, seed: int):
    """Random parameters, state and inputs, as numpy arrays."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(emitted.init_params, jax.random.key(0)) if emitted.init_params else {}
    params = jax.tree.map(lambda a: rng.normal(size=a.shape), shapes)
    if layer.params is not None and "it" in params:
        params = {**params, "it": layer.params(rng, params["it"])}
    state = jax.tree.map(lambda a: rng.uniform(0.5, 1.5, np.shape(a)), emitted.init_state())
    inputs = {}
    for name, type_ in layer.arguments.items():
        if not case.options.get(name, True):
            continue
        kind, _, dims = type_.strip("]").partition("[")
        shape = tuple(case.sizes[d.strip()] for d in dims.split(",") if d.strip())
        if name in layer.draw:
            inputs[name] = layer.draw[name](rng, shape)
        elif kind == "int":
            inputs[name] = rng.integers(0, case.sizes["V"], shape)
        elif kind == "bool":
            inputs[name] = rng.random(shape) < 0.6
        else:
            inputs[name] = rng.normal(size=shape)
    return params, state, inputs


def compare(layer: Layer, dtype: str, day: int | None = None) -> int:
    """Demand that a layer equals its reference in every pair of options; the number of cases.

    Args:
        dtype: float32, for 1e-5 of the largest element, or float64, for 1e-10.
        day: of which it is the turn: a part of the cases, of which all come round in `TURNS` days;
            by default all.
    """
    every = list(enumerate(choices(layer)))
    found = every if day is None else every[day % min(TURNS, len(every)) :: TURNS]
    tolerance = {"float32": 1e-5, "float64": layer.double}[dtype]
    for number, choice in found:
        text, sizes = model_text(layer, choice)
        options = _meant(choice)
        case = Case(options, sizes, bool(options.get("train", False)))
        seed = zlib.crc32(f"{layer.name}/{number}".encode())
        with jax.enable_x64(dtype == "float64"):
            _compare(layer, case, Emitted(module_of(text), dtype), dtype, tolerance, seed, text)
    return len(found)


def _compare(layer, case, emitted, dtype, tolerance, seed, text) -> None:
    params, state, inputs = drawn(layer, case, emitted, seed)
    cast = lambda a: jnp.asarray(a, dtype if np.asarray(a).dtype.kind == "f" else None)  # noqa: E731
    params, state, inputs = jax.tree.map(cast, (params, state, inputs))
    floats = {n: v for n, v in inputs.items() if v.dtype.kind == "f"}

    def ours(params, floats):
        values = {**inputs, **floats}  # a tree's dicts are sorted; a layer's arguments are not
        values = {n: values[n] for n in layer.arguments if n in values}
        key = jax.random.key(0) if case.train else None
        given = emitted(params, state, values, train=case.train, key=key)
        if not state:
            return given, {}
        *results, after = given
        return results[0] if len(results) == 1 else tuple(results), after["it"]

    def theirs(params, floats):
        own = (params.get("it", {}), state.get("it", {})) if params or state else ({}, {})
        if layer.body:
            own = params, state
        given = layer.reference(case, *own, {**inputs, **floats})
        return given if state else (given, {})

    found = pull(ours, params, floats, layer.gradients, seed)
    wanted = pull(theirs, params, floats, layer.gradients, seed)
    problem = different(found, wanted, tolerance)
    assert not problem, (
        f"{layer.name} {dict(case.options)} {dtype}: {problem}\n{text}{emitted.text}"
    )


def pull(function, params, floats, gradients: bool, seed: int) -> dict[str, Any]:
    """Results, new state and gradients of a random weighing of the results."""
    if not gradients:
        results, state = function(params, floats)
        return {"results": results, "state": state}
    results, back, state = jax.vjp(function, params, floats, has_aux=True)
    rng = np.random.default_rng(seed)
    weights = jax.tree.map(lambda r: jnp.asarray(rng.normal(size=r.shape), r.dtype), results)
    of_params, of_inputs = back(weights)
    return {"results": results, "state": state, "params": of_params, "inputs": of_inputs}


def different(found: Any, wanted: Any, tolerance: float) -> str:
    """What differs between two trees of arrays; "" if nothing does.

    An array may differ by `tolerance` times its largest element, or a tenth of the largest of all,
    which is where gradients that are 0 by symmetry are lost in rounding.
    """
    ours, theirs = (dict(jax.tree_util.tree_leaves_with_path(t)) for t in (found, wanted))
    if ours.keys() != theirs.keys():
        names = [sorted(map(jax.tree_util.keystr, t)) for t in (ours, theirs)]
        return f"{names[0]} is given, {names[1]} wanted"
    largest = max((float(np.abs(a).max(initial=0)) for a in theirs.values()), default=0.0)
    for path, want in theirs.items():
        have, want = np.asarray(ours[path]), np.asarray(want)
        where = jax.tree_util.keystr(path)
        if have.shape != want.shape:
            return f"{where} has shape {have.shape}, not {want.shape}"
        scale = max(float(np.abs(want).max(initial=0)), largest / 10)
        off = np.abs(have.astype(np.float64) - want.astype(np.float64)).max(initial=0)
        if not off <= tolerance * scale:
            return f"{where} is off by {off:.2g} of {scale:.2g}:\n{have}\n{want}"
    return ""
