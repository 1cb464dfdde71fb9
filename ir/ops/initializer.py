"""First values of parameters, scaled to the number of inputs and outputs, as in
`jax.nn.initializers`.

Brackets say which dims are inputs, and after the arrow which are outputs: `lecun_normal[D]()`,
`glorot_uniform[D -> H * K]()`. The attributes are `dims`, all dims of the parameter as declared,
`fan_in` and `fan_out`. The remaining dims count separate matrices: they do not change the scale.
The `*_normal` ones are cut off at two standard deviations, and scaled so that their variance is the
one promised. What is drawn is drawn in float32 and then cast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core import Dim, Op, Type
from ..named import Named
from ..registry import Brackets, Code, OpDef, Option, ShapeError, Source, register
from .common import TRANSCENDENTAL, costs, count, made_order, nothing
from .random import lowered, scaled

FANS = Brackets(dims=(0, None), arrows=(0, 1), left="*", right="*", dots=False)
MATRICES = ("orthogonal", "delta_orthogonal", "identity")
MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")


def _needs_out(op: Op) -> bool:
    return op.name.startswith("glorot") or op.name in MATRICES or op.get("mode") in MODES[1:]


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    dims, fan_in, fan_out = op["dims"], op["fan_in"], op["fan_out"]
    for dim in (*fan_in, *fan_out):
        if dim not in dims:
            names = ", ".join(d.name for d in dims)
            raise ShapeError(
                "dim-not-there",
                f"{op.name} counts {dim.name}, which the parameter does not have",
                facts=(f"its dims are [{names}]",),
            )
        if dim in fan_in and dim in fan_out:
            raise ShapeError("dim-twice", f"{dim.name} is both an input and an output of {op.name}")
    first = fan_in[0].name if fan_in else "In"
    if not fan_in:
        raise ShapeError(
            "no-fan-in",
            f"{op.name} needs to know which dims are inputs",
            help=f"{op.name}[{dims[0].name if dims else first}]()",
        )
    if not fan_out and _needs_out(op):
        other = next((d.name for d in dims if d not in fan_in), "Out")
        raise ShapeError(
            "no-fan-out",
            f"{op.name} needs to know which dims are outputs",
            help=f"{op.name}[{' * '.join(d.name for d in fan_in)} -> {other}]()",
        )
    return (Type(op.get("dtype", "float"), dims),)


def _positions(op: Op, dims: Sequence[Dim]) -> str:
    found = tuple(op["dims"].index(d) for d in dims)
    return str(found[0]) if len(found) == 1 else str(found)


def _axes(op: Op) -> str:
    """The arguments in_axis, out_axis, batch_axis; without outputs the rest may stand for them."""
    rest = [d for d in op["dims"] if d not in (*op["fan_in"], *op["fan_out"])]
    out = op["fan_out"] or rest
    text = f"in_axis={_positions(op, op['fan_in'])}, out_axis={_positions(op, out)}"
    return text + (f", batch_axis={_positions(op, rest)}" if op["fan_out"] and rest else "")


def _drawn(c: Source) -> str:
    double = c.op.result.type.dtype == "float64"
    shape = c.shape(c.op.result.order or ())
    return f"{c.key()}, {shape}" + (f", {c.dtype('float64')}" if double else "")


def _source(c: Source) -> Code:
    function = f"jax.nn.initializers.{c.op.name}"
    if c.op.name == "variance_scaling":
        given = f'{c.op["scale"]}, "{c.op["mode"]}", "{c.op["distribution"]}", '
    else:
        given = ""
    return lowered(c, Code(f"{function}({given}{_axes(c.op)})({_drawn(c)})"))


def _orthogonal(c: Source) -> Code:
    op = c.op
    rows, columns = op["fan_in"], op["fan_out"]
    rest = tuple(d for d in op["dims"] if d not in (*rows, *columns))
    sizes = [c.size(count(rows))]
    if rest or op.result.type.dtype == "float64":
        sizes.append(c.shape(tuple((d,) for d in rest)))
    if op.result.type.dtype == "float64":
        sizes.append(c.dtype("float64"))
    if count(rows) != count(columns):
        sizes.append(f"m={c.size(count(columns))}")
    text = f"random.orthogonal({c.key()}, {', '.join(sizes)})"
    return lowered(c, scaled(op["scale"], _arranged(c, text, (*rest, *rows, *columns))))


def _arranged(c: Source, text: str, drawn: tuple[Dim, ...]) -> str:
    """Matrices from inputs to outputs, as the parameter has its dims."""
    op = c.op
    if len(op["fan_in"]) > 1 or len(op["fan_out"]) > 1:
        text += f".reshape{c.shape(tuple((d,) for d in drawn))}"
    if drawn != op["dims"]:
        text += f".transpose({', '.join(str(drawn.index(d)) for d in op['dims'])})"
    return text


def _delta_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    found = _shape(types, op)
    rows, columns = count(op["fan_in"]), count(op["fan_out"])
    if rows.is_constant and columns.is_constant and rows.value > columns.value:
        raise ShapeError(
            "fewer-outputs",
            f"delta_orthogonal needs as many outputs as inputs or more, not {columns} of {rows}",
        )
    return found


def _delta(c: Source) -> Code:
    op = c.op
    rows, columns = op["fan_in"], op["fan_out"]
    rest = tuple(d for d in op["dims"] if d not in (*rows, *columns))
    double = f", (), {c.dtype('float64')}" if op.result.type.dtype == "float64" else ""
    more = f"{double}, m={c.size(count(columns))}" if count(rows) != count(columns) else double
    drawn = f"random.orthogonal({c.key()}, {c.size(count(rows))}{more})"
    middle = ", ".join(f"{c.size((d.size - 1) // 2)}" for d in rest)
    matrix = scaled(op["scale"], drawn)
    if not rest:
        return lowered(c, Code(_arranged(c, f"({matrix.text})", (*rows, *columns))))
    shape = (*((d,) for d in rest), rows, columns)
    dtype = f", {c.dtype('float64')}" if double else ""
    text = f"jnp.zeros({c.shape(shape)}{dtype}).at[{middle}].set({matrix.text})"
    return lowered(c, Code(_arranged(c, text, (*rest, *rows, *columns))))


def _identity(c: Source) -> Code:
    op = c.op
    rows, columns = op["fan_in"], op["fan_out"]
    rest = tuple(d for d in op["dims"] if d not in (*rows, *columns))
    sizes = [c.size(count(rows))]
    if count(rows) != count(columns):
        sizes.append(c.size(count(columns)))
    dtype = op.result.type.dtype
    if dtype not in ("float", "float32"):
        sizes.append(f"dtype={c.dtype(dtype)}")
    text = f"jnp.eye({', '.join(sizes)})"
    if rest:
        shape = (*((d,) for d in rest), rows, columns)
        text = f"jnp.broadcast_to({text}, {c.shape(shape)})"
    return scaled(op["scale"], _arranged(c, text, (*rest, *rows, *columns)))


def _identity_meaning(np, args, op):
    sides = [[d.size.value for d in op[side]] for side in ("fan_in", "fan_out")]
    eye = np.eye(*(int(np.prod(side)) for side in sides)).reshape(*sides[0], *sides[1])
    matrix = Named(op["scale"] * eye, (*op["fan_in"], *op["fan_out"]))
    shape = [d.size.value for d in op["dims"]]
    return Named(np.broadcast_to(matrix.over(op["dims"]), shape), op["dims"])


def _initializer(
    name: str,
    doc: str,
    source=_source,
    options: Mapping[str, Option] | None = None,
    shape=_shape,
    meaning=None,
    also: tuple[str, ...] = (),
) -> None:
    register(
        OpDef(
            name,
            "initializer",
            doc,
            shape,
            source,
            meaning,
            operands=(),
            also=also,
            options=options or {},
            brackets=FANS,
            flops=costs(2 * TRANSCENDENTAL),
            keeps=nothing,
            order=made_order,
            effect="" if meaning else "random",
        )
    )


for _family, _variance, _also in (
    ("lecun", "1 / fan_in", ()),
    ("he", "2 / fan_in", ("kaiming",)),
    ("glorot", "2 / (fan_in + fan_out)", ("xavier",)),
):
    for _kind in ("normal", "uniform"):
        _initializer(
            f"{_family}_{_kind}",
            f"Draws from a {_kind} distribution of variance {_variance}.",
            also=tuple(f"{name}_{_kind}" for name in _also),
        )

_initializer(
    "variance_scaling",
    "Draws from a distribution of variance scale / n, where n is `fan_in`, `fan_out`, or their "
    "mean (`fan_avg`) or geometric mean (`fan_geo_avg`).",
    options={
        "scale": Option(1.0),
        "mode": Option("fan_in", ("word",), MODES),
        "distribution": Option(
            "truncated_normal", ("word",), ("truncated_normal", "normal", "uniform")
        ),
    },
)
_initializer(
    "orthogonal",
    "Draws matrices from inputs to outputs whose rows or columns, whichever are fewer, are "
    "orthogonal and of length `scale`.",
    _orthogonal,
    {"scale": Option(1.0)},
)
_initializer(
    "delta_orthogonal",
    "Draws one matrix from inputs to outputs as `orthogonal` does, in the middle of all other "
    "dims, and is 0 elsewhere: a convolution that keeps lengths (Xiao et al. 2018). There are as "
    "many outputs as inputs, or more.",
    _delta,
    {"scale": Option(1.0)},
    _delta_shape,
)
_initializer(
    "identity",
    "Matrices from inputs to outputs that are `scale` where the positions are the same, and 0 "
    "elsewhere.",
    _identity,
    {"scale": Option(1.0)},
    meaning=_identity_meaning,
    also=("eye",),
)
