"""Options: what may be given for one at a `use`, and to an op."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import Span
from ..ir.registry import OpDef, Option, lookup, names, words
from ..ir.size import Size
from . import tree
from .constants import LayerRef, Mistake, OpRef, Word, plain
from .shared import Elaboration, dim_parameters
from .wording import assigned, count, meant, spoken

if TYPE_CHECKING:
    from .instances import InstanceBuilder

KINDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "none": "none",
    "pair": "a pair such as (1, 2)", "op": "an op",
}  # fmt: skip
OPS = "an op such as gelu, he_normal or max_pool, or a layer"


# Of layers.


def option_value(inst: InstanceBuilder, node: tree.Expr, name: str) -> Any:
    """The value of an option given at a `use`: a constant, a word, an op or a layer.

    An op or a layer may come with options of its own, `leaky_relu(slope = 0.2)`.
    """
    callee = node.callee if isinstance(node, tree.Call) else node
    layer = inst.layer_ref(callee) if isinstance(callee, tree.Name | tree.Member) else None
    if layer is not None:
        layer = layer if layer.home is not None else replace(layer, home=inst)
        return _with_options(inst, layer, node) if isinstance(node, tree.Call) else layer
    value = inst.try_constant(node)
    op = _op(inst, callee) if value is NotImplemented or isinstance(value, Word) else None
    if op is not None:
        if not may_be_given(lookup(op.name)):
            raise inst.shared.error(
                "not-an-option",
                f"{name} cannot be {op.name}: it is not pointwise, no initializer and no pool",
                node.span,
                facts=(f"an option may be {OPS}",),
            )
        return _op_with_options(inst, op, node) if isinstance(node, tree.Call) else op
    if value is not NotImplemented:
        return value
    known = {a.name for a in inst.layer.arguments} | {*assigned(inst.layer.body)}
    if isinstance(node, tree.Name) and node.id not in known:
        ops = [n for n in names() if may_be_given(lookup(n))]
        raise inst.unknown_name(node, [*inst.file.layers, *ops, *words()])
    raise inst.shared.error(
        "not-an-option",
        f"{name} is an option, which is known before anything runs; this is a value",
        node.span,
        facts=(f"an option is a number, true, false, none, {OPS}",),
        help=f"a value is an argument with a type, such as {name}: [...], given at the call",
    )


def _op(inst: InstanceBuilder, node: tree.Expr) -> OpRef | None:
    """The op that a name means, options included; None if none."""
    if not isinstance(node, tree.Name):
        return None
    option = inst.options.get(node.id)
    if isinstance(option, OpRef):
        inst.used.add(node.id)
        return option
    known = node.id in names() and node.id not in {*inst.options, *inst.file.consts}
    return OpRef(node.id) if known else None


def may_be_given(definition: OpDef) -> bool:
    """Whether an op may stand for an option: it takes one value, or makes one of nothing."""
    slides = definition.brackets.bare and len(definition.operands) == 1
    makes = definition.family == "random" and not definition.operands
    return definition.family in ("pointwise", "initializer") or makes or slides


def _with_options(inst: InstanceBuilder, ref: LayerRef, node: tree.Call) -> LayerRef:
    """A layer with options, and sizes of dims, that each use of it gets."""
    shared, layer = inst.shared, ref.layer
    known = [a.name for a in layer.arguments if a.type is None]
    given = _bound(inst, node, known, layer.name)
    settled = {n: option_value(inst, value, n) for n, value in given.items()}
    parameters = [p.name for p in dim_parameters(layer)]
    sizes: dict[str, Size] = {}
    for item in node.dims or ():
        if not isinstance(item.left, tree.Name) or item.value is None or item.right is not None:
            raise shared.error(
                "not-a-dim",
                "a layer that is an option is given sizes of its dims, by name",
                item.span,
                help=f"{layer.name}[{parameters[0] if parameters else 'D'} = 8](…)",
            )
        if item.left.id not in parameters:
            raise shared.error(
                "unknown-dim",
                f"{layer.name} has no dim {item.left.id}",
                item.span,
                facts=(f"its dims are {', '.join(parameters)}" if parameters else "it has none",),
                help=meant(shared.diagnostics, item.span, item.left.id, parameters),
            )
        sizes[item.left.id] = inst.size(item.value)
    return LayerRef(
        layer, ref.file, tuple({**dict(ref.given), **settled}.items()),
        tuple({**dict(ref.sizes), **sizes}.items()), ref.home,
    )  # fmt: skip


def _op_with_options(inst: InstanceBuilder, ref: OpRef, node: tree.Call) -> OpRef:
    """An op with options that each call of it gets."""
    options = lookup(ref.name).options
    if node.dims is not None:
        raise inst.shared.error(
            "dims-for-op",
            f"an op that is an option is not told dims: {ref.name} gets them where it is called",
            node.span,
        )
    settled = {}
    for name, value in _bound(inst, node, list(options), ref.name).items():
        if isinstance(value, tree.Name) and value.id in options[name].words:
            found: Any = Word(value.id)
        else:
            found = plain(inst.constant(value))
        settled[name] = fitting(inst.shared, found, ref.name, name, options[name], value.span)
    return OpRef(ref.name, tuple({**dict(ref.given), **settled}.items()))


def _bound(
    inst: InstanceBuilder, node: tree.Call, known: list[str], called: str
) -> dict[str, tree.Expr]:
    """What a call gives to options, in order or by name."""
    shared = inst.shared
    if len(node.arguments) > len(known):
        raise shared.error(
            "too-many-arguments",
            f"{called} has {count(len(known), 'option') if known else 'no options'}",
            node.arguments[len(known)].span,
        )
    given = dict(zip(known, node.arguments, strict=False))
    for keyword in node.keywords:
        if keyword.name not in known:
            raise unknown_option(shared, called, keyword, known)
        if keyword.name in given:
            raise shared.error("given-twice", f"{keyword.name} is given twice", keyword.span)
        given[keyword.name] = keyword.value
    return given


# Of ops.


def fitting(
    shared: Elaboration, value: Any, name: str, option: str, spec: Option, span: Span
) -> Any:
    """A settled value as an op takes it for an option; a mistake if it does not."""
    if isinstance(value, OpRef) and value.name in spec.words:  # `distribution = normal`
        return value.name
    if isinstance(value, Word) and value.text in spec.words:
        return value.text
    kind = _kind(value)
    if kind == "int" and "int" not in spec.kinds and "float" in spec.kinds:
        return float(value)
    if kind == "free size":
        raise shared.error(
            "option-not-constant",
            f"{option} of {name} must be known before anything runs; {value} is a free size",
            span,
            facts=(f"it may be {allowed(spec)}",),
        )
    if kind not in spec.kinds:
        raise shared.error(
            "wrong-option",
            f"{option} of {name} cannot be {told(value)}",
            span,
            facts=(f"it may be {allowed(spec)}",),
        )
    return value


def told(value: Any) -> str:
    """What an option is, in words: `the op gelu`, `0.5`."""
    match value:
        case OpRef():
            return f"the op {value.name}"
        case LayerRef():
            return f"the layer {value.layer.name}"
        case Word():
            return value.text
    return spoken(value)


def _kind(value: Any) -> str:
    return (
        "none" if value is None else
        "bool" if isinstance(value, bool) else
        "int" if isinstance(value, int) else
        "free size" if isinstance(value, Size) else
        "float" if isinstance(value, float) else
        "pair" if isinstance(value, tuple) else
        "op" if isinstance(value, OpRef) else "other"
    )  # fmt: skip


def allowed(spec: Option) -> str:
    """What an option of an op may be, in words."""
    kinds = [k for k in spec.kinds if k != "word" and not (k == "int" and "float" in spec.kinds)]
    known = [*spec.words, *(KINDS.get(k, k) for k in kinds)]
    return ", ".join(known[:-1]) + (" or " if len(known) > 1 else "") + known[-1]


def unknown_option(
    shared: Elaboration, called: str, keyword: tree.Keyword, known: list[str]
) -> Mistake:
    """Report an option that a layer or an op does not have."""
    return shared.error(
        "unknown-option",
        f"{called} has no option {keyword.name}",
        keyword.span,
        facts=(f"its options are {', '.join(known)}" if known else "it has no options",),
        help=meant(shared.diagnostics, keyword.span, keyword.name, known),
    )
