"""Cases of ops, and what must hold of each: that shape, source, meaning, order and keeps agree.

A file `test_ops_*.py` beside this one registers the cases of its families and checks them:

    CASES = register_cases(
        Case("sum", "[B, S, D]", "bool[B, S]", dims=dims("S"), extra=("where",)),
    )

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_ops(case, check):
        check(case)

`test_ops.py` imports all those files, and fails where a registered op has no case.
"""

from __future__ import annotations

import itertools
import math
import random as pyrandom
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from netwright.backend.source import OpSource, letters
from netwright.ir.core import (
    Dim,
    Op,
    Order,
    Type,
    Value,
    attributes,
    axes,
    flat,
    kind,
)
from netwright.ir.named import Named
from netwright.ir.ops.structure import literal
from netwright.ir.registry import Code, OpDef, lookup
from netwright.ir.size import Size

SIZES = {"B": 2, "S": 3, "T": 4, "D": 5, "E": 3, "F": 6, "G": 2, "H": 4, "K": 6, "R": 2, "V": 7}
_dims: dict[tuple[str, int], Dim] = {}


def dim(name: str, size: int | None = None) -> Dim:
    """The dim of that name and size; a size that is not given is taken from `SIZES`."""
    known = SIZES[name] if size is None else size
    return _dims.setdefault((name, known), Dim(len(_dims), name, Size.of(known)))


def dims(names: str) -> tuple[Dim, ...]:
    """Several dims, their names separated by blanks; `Y:8` gives the size."""
    found = (item.partition(":") for item in names.replace(",", " ").split())
    return tuple(dim(name, int(size) if size else None) for name, _, size in found)


@dataclass(frozen=True)
class Operand:
    """An operand of a case.

    Attributes:
        type: as a model writes it, such as `int[B, S]`; its order is the array's. A dim may have
            its size with it, as in `[Y:8]`.
        values: (generator, shape) -> array; by default normal floats, ints from -3 to 4, any bools.
        literal: a number to be written in the operand's place.
        smooth: whether the gradient is looked at.
    """

    type: str
    values: Callable[[np.random.Generator, tuple[int, ...]], Any] | None = None
    literal: bool | int | float | None = None
    smooth: bool = True

    @property
    def dims(self) -> tuple[Dim, ...]:
        return dims(self.type[self.type.index("[") + 1 : -1])

    @property
    def ir_type(self) -> Type:
        return Type(self.type[: self.type.index("[")] or "float", self.dims)

    def array(self, rng: np.random.Generator) -> Any:
        """An array in double precision."""
        if self.literal is not None:
            return np.asarray(self.literal)
        shape = tuple(d.size.value for d in self.dims)
        if self.values is not None:
            dtype = {"float": np.float64, "int": np.int32, "bool": np.bool_}[self.ir_type.kind]
            return np.asarray(self.values(rng, shape), dtype).reshape(shape)
        if self.ir_type.kind == "float":
            return rng.normal(size=shape) * 1.5
        if self.ir_type.kind == "int":
            return rng.integers(-3, 5, shape).astype(np.int32)
        return rng.random(shape) < 0.6


def between(low: float, high: float):
    """Values of an operand: uniform between two numbers; ints include the first only."""

    def values(rng: np.random.Generator, shape: tuple[int, ...]):
        if isinstance(low, int) and isinstance(high, int):
            return rng.integers(low, high, shape)
        return rng.uniform(low, high, shape)

    return values


@dataclass(frozen=True)
class Case:
    """One use of an op. Further keywords are the op's attributes.

    Args:
        op: the op's name.
        operands: types as text, or `Operand`s.
        skip: names of checks that do not apply, such as `keeps`.
        tolerance: of the meaning, absolute and relative.
    """

    op: str
    operands: tuple[Operand, ...]
    attrs: dict[str, object] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    tolerance: float = 1e-9

    def __init__(self, op, *operands, skip=(), tolerance=1e-9, **attrs):
        found = tuple(Operand(o) if isinstance(o, str) else o for o in operands)
        for name, value in {
            "op": op,
            "operands": found,
            "attrs": attrs,
            "skip": (skip,) if isinstance(skip, str) else tuple(skip),
            "tolerance": tolerance,
        }.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        def text(value: object) -> str:
            if isinstance(value, tuple):
                return "(" + " ".join(map(text, value)) + ")"
            return str(value)

        operands = ", ".join(
            o.type if o.literal is None else repr(o.literal) for o in self.operands
        )
        return f"{self.op}({operands})" + "".join(f" {k}={text(v)}" for k, v in self.attrs.items())

    @property
    def definition(self) -> OpDef:
        return lookup(self.op)

    def types(self, **dtypes: str) -> tuple[Type, ...]:
        """The operands' types, their abstract dtypes replaced."""
        return tuple(
            o.ir_type.with_dtype(dtypes.get(o.ir_type.dtype, o.ir_type.dtype))
            for o in self.operands
        )

    def make(self, types: tuple[Type, ...]) -> Op:
        """The op, with the results that its shape rule gives."""
        definition = self.definition
        op = Op(self.op, tuple(range(len(types))), (), attributes(**self.attrs))
        given = definition.shape(types, op)
        results = tuple(Value(len(types) + i, t) for i, t in enumerate(given))
        return replace(op, results=results)

    def orders(self) -> tuple[Order, ...]:
        return tuple(axes(o.dims) for o in self.operands)

    def arrays(self, seed: int = 0) -> list[Any]:
        rng = np.random.default_rng(seed)
        return [o.array(rng) for o in self.operands]


CASES: list[Case] = []


def register_cases(*cases: Case) -> tuple[Case, ...]:
    """Add cases; their ops count as covered."""
    CASES.extend(cases)
    return cases


def shape_of(order: Order) -> tuple[int, ...]:
    """The shape of an array of that order."""
    return tuple(math.prod(d.size.value for d in axis) for axis in order)


def arrange(array: Any, old: Order, new: Order) -> Any:
    """An array rearranged from one order to another of the same dims."""
    array = array.reshape([d.size.value for d in flat(old)])
    array = array.transpose([flat(old).index(d) for d in flat(new)])
    return array.reshape(shape_of(new))


class Emitted:
    """An op of a case as Python: its operands arranged as its order rule wants.

    Attributes:
        op, types: with the operands' types.
        wanted: the operands' orders as the rule wants them.
        results: the results' orders.
        text: the source.
    """

    def __init__(self, case: Case, types: tuple[Type, ...], orders: tuple[Order, ...]):
        self.case, self.types = case, types
        op = case.make(types)
        rule = case.definition.order
        assert rule is not None, f"{case.op} has no order rule"
        self.wanted, self.results = rule(op, orders)
        for index, (order, type_) in enumerate(zip(self.wanted, types, strict=True)):
            assert set(flat(order)) == set(type_.dims), f"operand {index} is wanted as {order}"
            assert len(flat(order)) == len(type_.dims)
        self.wanted, self.results = tuple(self.wanted), tuple(self.results)
        values = tuple(replace(v, order=o) for v, o in zip(op.results, self.results, strict=True))
        self.op = replace(op, results=values)
        every = dict.fromkeys(d for t in (*types, *(v.type for v in values)) for d in t.dims)
        for value in dict(self.op.attrs).values():
            every.update(dict.fromkeys(_dims_in(value)))
        args = []
        for index, operand in enumerate(case.operands):
            given = operand.literal
            args.append(Code(f"x{index}") if given is None else literal(given))
        source = OpSource(
            self.op, types, self.wanted, args, str, letters(list(every)), lambda: "key"
        )
        self.text = source.write().text
        self.names: dict[str, Any] = {"jax": jax, "jnp": jnp, "lax": lax, "random": random}
        if source.helpers:
            from netwright.ir.ops.helpers import HELPERS

            for name in source.helpers:
                exec(HELPERS[name], self.names)
        self.code = compile(self.text, f"<{case.op}>", "eval")

    def __call__(self, *args: Any, key: Any = None) -> tuple[Any, ...]:
        """The results, for operands in the wanted orders (literals stand in the source)."""
        given = {f"x{i}": a for i, a in enumerate(args)}
        given["key"] = random.key(0) if key is None else key
        found = eval(self.code, self.names | given)
        found = found if isinstance(found, (tuple, list)) else (found,)
        return tuple(map(jnp.asarray, found))

    def arranged(self, arrays: list[Any], orders: tuple[Order, ...]) -> list[Any]:
        return [
            arrange(a, old, new) for a, old, new in zip(arrays, orders, self.wanted, strict=True)
        ]


def _dims_in(value: object):
    if isinstance(value, Dim):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _dims_in(item)


def check_shape(case: Case) -> None:
    """The shape rule agrees with what JAX gives, for abstract dtypes and for concrete ones."""
    for dtypes in ({}, {"float": "float32", "int": "int32"}, {"float": "bfloat16", "int": "int32"}):
        types = case.types(**dtypes)
        with jax.enable_x64(False):
            emitted = Emitted(case, types, case.orders())
            args = [
                jax.ShapeDtypeStruct(
                    shape_of(o), {"float": "float32", "int": "int32"}.get(t.dtype, t.dtype)
                )
                for o, t in zip(emitted.wanted, types, strict=True)
            ]
            found = jax.eval_shape(emitted, *args)
        for value, order, array in zip(emitted.op.results, emitted.results, found, strict=True):
            assert set(flat(order)) == set(value.type.dims), emitted.text
            assert array.shape == shape_of(order), emitted.text
            wanted = {"float": "float32", "int": "int32"}.get(value.type.dtype, value.type.dtype)
            if all(o.literal is None or o.type == "int[]" for o in case.operands) or dtypes == {}:
                assert str(array.dtype) == wanted, f"{emitted.text}: {array.dtype}, not {wanted}"


def meanings(case: Case, arrays: list[Any]) -> tuple[Named, ...]:
    """What the op means for arrays in the orders as written."""
    op = case.make(case.types())
    named = [Named(a, o.dims) for a, o in zip(arrays, case.operands, strict=True)]
    with np.errstate(all="ignore"):
        found = case.definition.meaning(np, named, op)
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(op.results)
    for array, value in zip(found, op.results, strict=True):
        assert set(array.dims) == set(value.type.dims)
        assert array.array.shape == tuple(d.size.value for d in array.dims)
    return found


def agree(case: Case, orders: tuple[Order, ...], seed: int = 0) -> None:
    """The source gives the meaning, for operands that come in these orders."""
    arrays = case.arrays(seed)
    expected = meanings(case, arrays)
    with jax.enable_x64(True):
        emitted = Emitted(case, case.types(float="float64"), orders)
        given = [
            arrange(a, axes(o.dims), w)
            for a, o, w in zip(arrays, case.operands, emitted.wanted, strict=True)
        ]
        results = emitted(*map(jnp.asarray, given))
        assert len(results) == len(expected)
        for value, order, result, meant in zip(
            emitted.op.results, emitted.results, results, expected, strict=True
        ):
            assert result.shape == shape_of(order), emitted.text
            assert kind(str(result.dtype)) == value.type.kind, emitted.text
            found = arrange(np.asarray(result), order, axes(meant.dims))
            np.testing.assert_allclose(
                found,
                np.asarray(meant.array),
                case.tolerance,
                case.tolerance,
                err_msg=emitted.text,
            )


def check_meaning(case: Case) -> None:
    """The emitted JAX gives what the numpy meaning gives, in double precision."""
    if case.definition.meaning is None:
        assert case.definition.effect == "random", f"{case.op} has no meaning"
        return
    agree(case, case.orders())


def arrangements(case: Case, number: int = 4) -> list[tuple[Order, ...]]:
    """Orders in which operands may come: permuted, neighbours collapsed, axes of size 1 put in."""
    chance = pyrandom.Random(str(case))
    found = []
    for _ in range(number):
        orders = []
        for operand in case.operands:
            names = list(operand.dims)
            chance.shuffle(names)
            order: list[tuple[Dim, ...]] = []
            for d in names:
                if order and chance.random() < 0.3:
                    order[-1] += (d,)
                else:
                    order.append((d,))
            if chance.random() < 0.2:
                order.insert(chance.randint(0, len(order)), ())
            orders.append(tuple(order) if operand.literal is None else ())
        found.append(tuple(orders))
    return found


def check_order(case: Case) -> None:
    """Operands in any order, rearranged as the order rule wants, give the same meaning."""
    for seed, orders in enumerate(arrangements(case)):
        if case.definition.meaning is not None:
            agree(case, orders, seed)
        else:
            emitted = Emitted(case, case.types(), orders)
            args = case.arrays()
            given = [
                arrange(a, axes(o.dims), w)
                for a, o, w in zip(args, case.operands, emitted.wanted, strict=True)
            ]
            for result, order in zip(emitted(*given), emitted.results, strict=True):
                assert result.shape == shape_of(order), emitted.text


_ALIASES = {"reshape", "broadcast_in_dim", "squeeze", "expand_dims", "copy", "reduce_precision"}
_ALIASES |= {"convert_element_type", "stop_gradient", "transpose", "name", "sharding_constraint"}
_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "custom_jvp_call", "custom_vjp_call"}


def residuals(
    call: Callable, args: list[Any], wants: tuple[bool, ...], keyed: bool = False
) -> list[tuple[str, int, str]]:
    """What `jax.vjp` saves of a call, as (what, index, type), sorted.

    Arrays that are another one reshaped, transposed or copied count as that one; constants do not
    count (in a scan they are not stacked), nor do scalars. If `keyed`, the call takes a random key.
    """

    def run(key, *values):
        def primal(*wanted):
            left = iter(wanted)
            given = (next(left) if w else v for v, w in zip(values, wants, strict=True))
            return call(*given, key=key) if keyed else call(*given)

        return jax.vjp(primal, *(v for v, w in zip(values, wants, strict=True) if w))

    jaxpr = jax.make_jaxpr(run)(random.key(0), *args).jaxpr
    number = len(jax.eval_shape(call, *args))
    known: dict[Any, Any] = {}
    constant = object()

    def get(v):
        return constant if hasattr(v, "val") else known.get(v, v)

    def walk(jaxpr) -> None:
        for v in jaxpr.constvars:
            known.setdefault(v, constant)
        for equation in jaxpr.eqns:
            name, ins = equation.primitive.name, [get(v) for v in equation.invars]
            if name in _CALLS:
                inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
                inner = getattr(inner, "jaxpr", inner)
                known.update(zip(inner.invars, ins, strict=True))
                walk(inner)
                known.update(
                    (o, get(i)) for o, i in zip(equation.outvars, inner.outvars, strict=True)
                )
            elif (ins and all(v is constant for v in ins)) or (not ins and not equation.effects):
                known.update((o, constant) for o in equation.outvars)
            elif name in _ALIASES:
                (out,) = equation.outvars
                same = equation.invars[0].aval
                if same.size == out.aval.size and same.dtype == out.aval.dtype:
                    known[out] = ins[0]

    walk(jaxpr)
    outs = [get(v) for v in jaxpr.outvars]
    results = outs[:number]
    found = {}
    for v in outs[number:]:
        if v is constant or v.aval.size <= 1:
            continue
        text = f"{v.aval.dtype}:{v.aval.size}".removeprefix("u")
        if v in jaxpr.invars:
            found[v] = ("operand", jaxpr.invars.index(v) - 1, text)
        elif v in results:
            found[v] = ("result", results.index(v), text)
        else:
            found[v] = ("internal", 0, text)
    return sorted(found.values())


def differentiable(case: Case) -> bool:
    """Whether some operand has a gradient through some result."""
    types = case.types()
    floats = [
        t.kind == "float" and o.literal is None for t, o in zip(types, case.operands, strict=True)
    ]
    return any(floats) and any(v.type.kind == "float" for v in case.make(types).results)


def check_keeps(case: Case) -> None:
    """What the registry says that the gradient keeps is what JAX saves."""
    definition = case.definition
    if definition.keeps is None and not definition.linear:
        floats = [t for t in case.types() if t.kind == "float"]
        assert not floats or definition.effect, f"{case.op} does not say what it keeps"
    types = case.types(float="float32", int="int32")
    emitted = Emitted(case, types, case.orders())
    args = [
        a.astype({"float32": np.float32}.get(t.dtype, a.dtype))
        for a, t in zip(case.arrays(), types, strict=True)
    ]
    args = emitted.arranged(args, tuple(axes(o.dims) for o in case.operands))
    may = [
        t.kind == "float" and o.literal is None for t, o in zip(types, case.operands, strict=True)
    ]
    if not differentiable(case):
        return
    floats = [v.type.kind == "float" for v in emitted.op.results]
    for wants in itertools.product((True, False), repeat=len(may)):
        if not any(wants) or any(w and not m for w, m in zip(wants, may, strict=True)):
            continue

        def call(*values, key=None):
            found = emitted(*values, key=key)
            return tuple(r for r, f in zip(found, floats, strict=True) if f)

        expected = []
        for keep in kept(emitted.op, types, wants):
            what, index, type_ = keep.what, keep.index, keep.type
            if what == "operand":
                type_ = types[index]
                if case.operands[index].literal is not None:
                    continue
            elif what == "result":
                type_ = emitted.op.results[index].type
                # Of a result that is no float, the function that is differentiated knows nothing.
                what, index = ("result", sum(floats[:index])) if floats[index] else ("internal", 0)
            size = type_.elements().value
            if size > 1:
                expected.append((what, index, f"{concrete(type_.dtype)}:{size}"))
        with jax.enable_x64(False):
            found = residuals(call, args, wants, keyed=True)
        assert sorted(expected) == found, (
            f"{emitted.text}, {wants}: kept {found}, registered {sorted(expected)}"
        )


def concrete(dtype: str) -> str:
    return {"float": "float32", "int": "int32"}.get(dtype, dtype)


def kept(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]):
    """What an op's gradient keeps."""
    from netwright.ir.registry import keeps

    return keeps(op, types, wants)


def check_gradient(case: Case) -> None:
    """Where the meaning is finite, so is the gradient."""
    types = case.types(float="float64")
    with jax.enable_x64(True):
        emitted = Emitted(case, types, case.orders())
        arrays = emitted.arranged(case.arrays(), tuple(axes(o.dims) for o in case.operands))
        args = [jnp.asarray(a) for a in arrays]
        wants = [
            i
            for i, (t, o) in enumerate(zip(types, case.operands, strict=True))
            if t.kind == "float" and o.literal is None and o.smooth
        ]
        if not wants:
            return
        results = emitted(*args)

        def total(*given):
            return (
                sum(
                    jnp.sum(jnp.where(jnp.isfinite(r), r, 0))
                    for r in emitted(*given)
                    if kind(str(r.dtype)) == "float"
                )
                + 0.0
            )

        grads = jax.grad(total, wants)(*args)
        if all(bool(jnp.isfinite(r).all()) for r in results):
            for index, grad in zip(wants, grads, strict=True):
                assert bool(jnp.isfinite(grad).all()), f"{emitted.text}: operand {index}"


CHECKS = (check_shape, check_meaning, check_order, check_keeps, check_gradient)


def name_of(check: Callable) -> str:
    """How a check is called in a test's name."""
    return check.__name__.removeprefix("check_")


def run(case: Case, check: Callable) -> None:
    """Check a case, unless it says that this check does not apply."""
    if name_of(check) not in case.skip:
        check(case)
