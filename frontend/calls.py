"""Calls of ops: operands, options, and the op itself."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from ..ir.core import Dim, Op, Region, Value
from ..ir.diagnostics import Place
from ..ir.registry import REQUIRED, OpDef, Option, lookup, names
from . import tree
from .brackets import brackets, fans, form
from .constants import Mistake, OpRef, is_constant, plain
from .masking import call_masked
from .options import allowed, fitting
from .reading import Many, Val
from .wording import assigned, corrected, count, meant, spoken, without, written

if TYPE_CHECKING:
    from .values import Values

RENAMED = {"min": "minimum", "max": "maximum"}
HIDDEN = ("structure", "layout")  # families of ops that no model writes
MOST_RESULTS = 256
AXES = ("axis", "axes", "dim", "dims", "keepdims", "keepdim")


def unknown_callee(body: Values, callee: tree.Name) -> Mistake:
    """Report a call of something that is nothing."""
    inst = body.instance
    name = callee.id
    known = {*(n for n in names() if lookup(n).family not in HIDDEN), *inst.children}
    known |= {*inst.file.layers}
    shared = body.shared
    if name in inst.file.dims or name in inst.bound or name in inst.local:
        return shared.error(
            "not-callable", f"{name} is a dim and cannot be called", callee.span,
            help=f"`*` multiplies: {name} * …",
        )  # fmt: skip
    help = meant(shared.diagnostics, callee.span, name, known)
    elsewhere = [f"{c}.{name}" for c, f in inst.file.imports.items() if name in f.layers]
    if elsewhere:
        help = corrected(shared.diagnostics, callee.span, elsewhere[0])
    return shared.error(
        "unknown-op", f"there is no op, layer or instance called {name}", callee.span, help=help
    )


def not_callable(body: Values, name: str, what: str, node: tree.Call) -> Mistake:
    """Report a call of a value or constant."""
    help = ""
    if len(node.arguments) == 1 and not node.keywords and node.dims is None:
        words = written(body.shared.diagnostics, node.arguments[0].span)
        factor = f"({words})" if isinstance(node.arguments[0], tree.Binary) else words
        fixed = corrected(body.shared.diagnostics, node.span, f"{name} * {factor}")
        help = f"`*` multiplies: {fixed}" if words and fixed else ""
    return body.shared.error(
        "not-callable", f"{name} is {what} and cannot be called", node.callee.span, help=help
    )


def call_op(body: Values, ref: OpRef, node: tree.Call, labels, chosen: bool = False) -> Any:
    """A call of an op by the name that was written, or of one that was chosen by an option.

    What fills a parameter may be chosen too. It is told its fan-in and fan-out; one that does not
    ask for them, such as `zeros`, draws the whole array all the same.
    """
    name = given_name = ref.name
    preset = dict(ref.given)
    name = RENAMED[name] if name in RENAMED and node.dims is None else name
    definition = lookup(name)
    given, words, extra = _bind(body, definition, given_name, node)
    results = [body.single(body.expr(w), w) for w in words]
    if node.dims is None and not node.keywords and all(is_constant(r) for r in results):
        value = body.instance.fold_call(given_name, results, node)
        if value is not NotImplemented:
            return value
    operands = _operands(body, definition, words, results)
    hiding = bool(definition.hidden) and "where" in extra
    extra = extra[:-1] if hiding else extra
    attrs: dict[str, Any] = {"extra": extra} if definition.optional else {}
    for option, spec in definition.options.items():
        node_given = given.get(option)
        attrs[option] = _option(
            body, definition, given_name, option, spec, node_given, node, preset
        )
    if definition.family == "initializer":
        attrs |= fans(body, definition, node)
    elif body.drawn is not None and _draws(definition) and (chosen or not node.dims):
        attrs["dims"] = body.drawn
    else:
        attrs |= brackets(body, definition, given_name, node, attrs, operands)
    if name == "unstack":
        _few(body, attrs["dims"][0], node)
    if definition.effect == "random":
        attrs["salt"] = _salt(body, name)
    if name == "index" and attrs["dims"] and attrs["dims"][0] in body.steps:
        return Val(body.steps[attrs["dims"][0]], node.span)
    if name == "index" and attrs["dims"]:
        copy = body.copy_number(attrs["dims"][0])
        if copy is not None:
            return Val(copy, node.span)
    if name == "dropout":
        return _dropout(body, node, operands, attrs, labels)
    if hiding:
        made = call_masked(body, definition, operands, node, labels, words, attrs)
    else:
        made = body.emit(name, operands, node, labels, words, **attrs)
    return made[0] if len(made) == 1 else Many(made, node.span)


def _few(body: Values, dim: Dim, node: tree.Call) -> None:
    """Refuse to take apart a dim into more values than anybody would name."""
    if dim.size.is_constant and dim.size.value > MOST_RESULTS:
        raise body.shared.error(
            "too-many-results",
            f"unstack[{dim.name}] gives {dim.size.value:,} values, more than {MOST_RESULTS}",
            node.span,
            help=f"slice[{dim.name} -> …](…) takes a stretch, scan[{dim.name}](…) goes along it",
        )


def _draws(definition: OpDef) -> bool:
    """Whether an op draws, or makes, an array of all the dims of what an initializer fills."""
    if definition.name == "dropout":
        return False
    makes = definition.family == "random" and not definition.operands
    return definition.effect == "random" or makes


def _bind(
    body: Values, definition: OpDef, name: str, node: tree.Call
) -> tuple[dict[str, tree.Expr], tuple[tree.Expr, ...], tuple[str, ...]]:
    """The arguments of a call by name, the words of the operands, and the optional operands."""
    shared = body.shared
    slots, options = list(definition.operands), list(definition.options)
    known = [*slots, *options, *definition.keywords]
    positional = list(node.arguments)
    given: dict[str, tree.Expr] = {}
    rest: tuple[tree.Expr, ...] = ()
    if definition.variadic:
        rest, positional, slots = tuple(positional), [], []
    for slot in (*slots, *options):
        if positional:
            given[slot] = positional.pop(0)
    shape = f"it is written {_signature(definition, name)}"
    if positional:
        most = len(slots) + len(options)
        raise shared.error(
            "too-many-arguments",
            f"{name} takes {count(most, 'argument') if most else 'no arguments'}",
            positional[0].span,
            facts=(shape,),
            help=_as_keyword(body, definition, positional)
            or without(shared.diagnostics, node, len(node.arguments) - len(positional)),
        )
    for keyword in node.keywords:
        if keyword.name in given:
            raise shared.error("given-twice", f"{keyword.name} is given twice", keyword.span)
        if keyword.name not in known:
            raise _unknown_option(body, name, node, keyword, known, shape)
        given[keyword.name] = keyword.value
    if definition.variadic and not rest:
        raise shared.error("missing-argument", f"{name} needs values", node.span, facts=(shape,))
    for slot in slots:
        if slot not in given:
            raise shared.error(
                "missing-argument", f"{name} needs {slot}", node.span, facts=(shape,)
            )
    extra = tuple(o for o in definition.keywords if o in given and not _is_none(given[o]))
    return given, (*rest, *(given[s] for s in slots), *(given[o] for o in extra)), extra


def _as_keyword(body: Values, definition: OpDef, positional: list[tree.Expr]) -> str:
    """The call with a value that is one too many given by name; "" where that is not meant."""
    number = isinstance(positional[0], tree.Number | tree.Constant)
    if not definition.keywords or len(positional) != 1 or number:
        return ""
    at = positional[0].span
    words = written(body.shared.diagnostics, at)
    return corrected(body.shared.diagnostics, at, f"{definition.keywords[0]} = {words}")


def _unknown_option(body: Values, name: str, node: tree.Call, keyword, known, shape) -> Mistake:
    shared = body.shared
    help = meant(shared.diagnostics, keyword.span, keyword.name, known)
    facts = [shape]
    if keyword.name in AXES:
        facts.insert(0, "there are no axis numbers: dims stand between brackets, by name")
        help = ""
        at = keyword.value.value if isinstance(keyword.value, tree.Number) else None
        if node.arguments and isinstance(at, int) and node.dims is None and len(known) < 4:
            result = body.single(body.expr(node.arguments[0]), node.arguments[0])
            dims = body.order_of(result.id) if hasattr(result, "id") else ()
            words = written(shared.diagnostics, node.arguments[0].span)
            if -len(dims) <= at < len(dims) and len(node.keywords) == 1:
                fixed = f"{name}[{dims[at].name}]({words})"
                help = corrected(shared.diagnostics, node.span, fixed)
    return shared.error(
        "unknown-option",
        f"{name} has no option {keyword.name}",
        keyword.span,
        facts=tuple(facts),
        help=help,
    )


def _operands(body: Values, definition: OpDef, words, results) -> tuple[int, ...]:
    if definition.family in ("arithmetic", "pointwise") and len(words) > 1:
        chosen = 1 if definition.name == "where" else 0
        fixed = [body.value(r, w) for r, w in zip(results[:chosen], words, strict=False)]
        rest = tuple(results[chosen:]), tuple(words[chosen:])
        return (*fixed, *body.unify(*rest, definition.name))
    want = "float" if definition.family in ("pointwise", "product") else None
    return tuple(body.value(r, w, want) for r, w in zip(results, words, strict=True))


def _is_none(node: tree.Expr) -> bool:
    return isinstance(node, tree.Constant) and node.value is None


def _signature(definition: OpDef, name: str) -> str:
    operands = [*definition.operands, *(["…"] if definition.variadic else [])]
    options = [
        n if o.default is REQUIRED else f"{n} = {spoken(o.default)}"
        for n, o in definition.options.items()
    ]
    optional = [f"{n} = …" for n in definition.keywords]
    dims = "" if name in RENAMED and definition.name != name else form(definition, name)
    return f"{name}{dims}({', '.join([*operands, *options, *optional])})"


def _option(
    body: Values, definition: OpDef, name: str, option: str, spec: Option, node, call, preset
) -> Any:
    shared = body.shared
    if node is None and option in preset:
        return preset[option]
    if node is None:
        if spec.default is REQUIRED:
            raise shared.error(
                "missing-argument",
                f"{name} needs {option}",
                call.span,
                facts=(f"it is written {_signature(definition, name)}",),
            )
        return spec.default
    if isinstance(node, tree.Name) and node.id in spec.words and not body.hides(node):
        return node.id
    value = _settled(body, node)
    if value is NotImplemented:
        raise _not_constant(body, name, option, spec, node)
    return fitting(shared, value, name, option, spec, node.span)


def _settled(body: Values, node: tree.Expr) -> Any:
    hidden = {k for k, v in body.names.items() if not is_constant(v)}
    if isinstance(node, tree.Name) and body.hides(node) and node.id not in hidden:
        return plain(body.names[node.id])
    return plain(body.instance.try_constant(node, body.declared, hidden))


def _not_constant(body: Values, name: str, option: str, spec: Option, node: tree.Expr) -> Mistake:
    shared, inst = body.shared, body.instance
    facts = (f"it may be {allowed(spec)}",)
    if isinstance(node, tree.Name) and node.id not in body.names:
        if node.id in inst.broken:
            return Mistake()
        known = [*spec.words, *inst.options, *inst.file.consts]
        known += [n for n, v in body.names.items() if is_constant(v)]
        if node.id not in assigned(inst.layer.body):
            return shared.error(
                "wrong-option",
                f"{option} of {name} cannot be {node.id}",
                node.span,
                facts=facts,
                help=meant(shared.diagnostics, node.span, node.id, known),
            )
    bound = body.names.get(node.id) if isinstance(node, tree.Name) else None
    at = getattr(bound, "span", None)
    return shared.error(
        "option-not-constant",
        f"{option} of {name} must be known before anything runs; this is a value",
        node.span,
        places=(Place(at, "given here"),) if at is not None else (),
        facts=facts,
    )


def _salt(body: Values, op: str) -> int:
    """The number that tells this draw from others of the same body."""
    body.draws += 1
    return zlib.crc32(f"{body.statement}/{op}/{body.draws}".encode())


def _dropout(body: Values, node: tree.Call, operands, attrs, labels) -> Any:
    """Dropout, in training only; at rate 0 there is nothing to draw."""
    if attrs["rate"] == 0 or body.training is False:
        return Val(operands[0], node.span)
    if body.training:
        return body.emit("dropout", operands, node, labels, node.arguments, **attrs)[0]
    body.builder.open()
    try:
        dropped = body.emit("dropout", operands, node, None, node.arguments, **attrs)[0]
    finally:
        ops = body.builder.close()
    then = Region((), ops, (dropped.id,))
    value = Value(
        -1, body.builder.type(operands[0]), body.label(labels[0] if labels else None, "dropout")
    )
    orelse = Region((), (), operands)
    op = Op("if_train", (), (value,), (), (then, orelse), span=node.span)
    return Val(body.builder.append(op)[0], node.span)
