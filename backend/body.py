"""Bodies as Python statements: one function of the emitted model, its regions, its calls."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from ..ir.core import Dim, Instance, Op, Region, Value, Variant, walk
from ..ir.effects import Effects, effects, salt
from ..ir.registry import Code, Levels, lookup, names
from ..ir.signature import CALLS
from ..ir.size import Size
from .naming import fresh, identifier, quoted
from .source import OpSource, as_array, letters

if TYPE_CHECKING:
    from .model import ModelWriter

ATOMS = {"param", "state", "const", "size", "rename"}
"""Ops that are written where they are used, however often; they compute nothing."""

STATEMENTS = {"repeat", "each", "scan", "if_train", "metric"}
LONG = 64  # columns of an operand past which it gets a name of its own


class Function:
    """What all bodies of one emitted function share.

    Attributes:
        dims: free dims whose sizes its source asked for, in order.
    """

    def __init__(self, model: ModelWriter, instance: Instance, variant: Variant):
        self.model, self.instance, self.variant = model, instance, variant
        self.dims: dict[str, Dim] = {}
        self.values: dict[int, Value] = {v.id: v for v in variant.inputs}
        for op in walk(variant.ops):
            self.values.update((r.id, r) for r in op.results)
            for region in op.regions:
                self.values.update((a.id, a) for a in region.arguments)
        self.known = self._shaped()
        model.taken.update(self.known)
        self.child_state: dict[str, str] = {}
        self.metrics: list[tuple[frozenset[str], str]] = []  # what reports them, and an entry
        self.line = 0

    def dim(self, dim: Dim) -> str:
        """Source of a dim's size."""
        return self.size(dim.size, dim)

    def size(self, size: Size, dim: Dim | None = None) -> str:
        """Source of a size: a constant's name or number, or names bound from the inputs' shapes."""
        if size.is_constant:
            return self.model.constant(dim, size.value)
        known = self.known
        for name, candidate in known.items():
            own = dim is None or dim == candidate or dim not in known.values()
            if candidate.size == size and own:
                self.dims[name] = candidate
                return name
        symbols = {d.size.symbol: n for n, d in known.items() if d.size.symbol is not None}
        if set(size.names) <= set(symbols):
            for name in size.names:
                self.dims[symbols[name]] = known[symbols[name]]
            return str(size.substitute({n: Size.free(symbols[n]) for n in size.names}))
        bound = dict(self.model.module.sizes)
        if set(size.names) <= set(bound):
            return str(size.evaluate(bound))
        raise AssertionError(f"no input of {self.instance.path} tells the size {size}")

    def _shaped(self) -> dict[str, Dim]:
        """Dims of the inputs whose sizes are not numbers, by their names in the source."""
        found: dict[str, Dim] = {}
        axes = (axis for v in self.variant.inputs for axis in v.axes if len(axis) == 1)
        for (dim,) in axes:
            if not dim.size.is_constant and dim not in found.values():
                found[fresh(identifier(dim.name), found)] = dim
        return found


class Body:
    """One list of ops being written: a function's, a branch's, or a loop's."""

    def __init__(
        self, function: Function, ops, results: tuple[int, ...], indent: int, outer: Body | None
    ):
        self.function, self.model, self.ops, self.results = function, function.model, ops, results
        self.indent, self.outer = indent, outer
        self.lines: list[str] = []
        self.codes: dict[int, Code] = {}
        self.key: str = outer.key if outer else "key"
        self.names: dict[str, int | None] = {}  # Python name → the value that it holds
        self.preset: dict[int, str] = {}
        self.arguments: dict[int, str] = {}
        self.salts: tuple[str, ...] = ()  # what an initializer folds into the key beforehand
        self._analyse()

    # What is used where.

    def _analyse(self) -> None:
        self.index = {r.id: i for i, op in enumerate(self.ops) for r in op.results}
        users: dict[int, list[int]] = {}
        nested: set[int] = set()
        end = len(self.ops)
        for i, op in enumerate(self.ops):
            for o in op.operands:
                users.setdefault(o, []).append(i)
            for region in op.regions:
                for o in _reads(region):
                    users.setdefault(o, []).append(i)
                    nested.add(o)
        for r in self.results:
            users.setdefault(r, []).append(end)
        self.users, self.nested = users, nested
        self.end = [0] * end
        self.inlined: set[int] = set()
        for i in range(end - 1, -1, -1):
            op = self.ops[i]
            mine = [u for r in op.results for u in users.get(r.id, [])]
            if op.name in ATOMS:
                self.end[i] = max((self._end(u) for u in mine), default=i)
            elif self._inlines(op, mine):
                self.inlined.add(op.results[0].id)
                self.end[i] = self._end(mine[0])
            else:
                self.end[i] = i
        self.last = {v: max(self._end(u) for u in us) for v, us in users.items()}

    def _end(self, index: int) -> int:
        return self.end[index] if index < len(self.ops) else len(self.ops)

    def _inlines(self, op: Op, users: list[int]) -> bool:
        if op.name in STATEMENTS or len(op.results) != 1 or len(users) != 1:
            return False
        if op.name == "call":
            found = self._parts(op)[1]
            if found.state or found.metrics:
                return False
        value = op.results[0]
        if value.id in self.nested or value.id in self.preset:
            return False
        if users[0] < len(self.ops) and self.ops[users[0]].name in ("metric", "if_train"):
            return False
        return not value.label or ":" in value.label or "." in value.label

    # Names.

    def _free(self, name: str, at: int, strict: bool = False) -> bool:
        """Whether a name can be bound at an op without hiding what is still needed.

        Args:
            strict: whether what the op itself still reads counts as needed.
        """
        body: Body | None = self
        if name in self.model.taken:
            return False
        while body is not None:
            if name in body.names:
                held = body.names[name]
                if body is not self or held is None:
                    return False
                last = self.last.get(held, -1)
                if last > at or (strict and last == at):
                    return False
            body = body.outer
        return True

    def name(self, value: int, at: int, base: str | None = None, strict: bool = False) -> str:
        """Bind a Python name to a value, as it is called in the model where possible."""
        if value in self.preset:
            name = self.preset[value]
            self.names[name], self.codes[value] = value, Code(name)
            return name
        wanted = [identifier(n) for n in ([base] if base else self._bases(value))]
        numbered = (f"{wanted[-1]}_{number}" for number in itertools.count(2))
        name = next(n for n in itertools.chain(wanted, numbered) if self._free(n, at, strict))
        self.names[name] = value
        self.codes[value] = Code(name)
        return name

    def _bases(self, value: int) -> list[str]:
        """Names for a value, best first: the model's name, the statement's, what the op makes."""
        label = self._label(value)
        first, _, made = label.partition(":")
        first, made = first.split(".")[0], made.split(".")[0]
        if first in ("return", "emit", "_"):
            first = ""
        if label:
            child = made if made and made not in names() else ""
            return [n for n in ((first, child) if first else (child, "y")) if n]
        body: Body | None = self
        while body is not None:
            position = body.index.get(value)
            if position is not None and body.ops[position].operands:
                op = body.ops[position]
                inner = body._bases(op.operands[0])
                if op.name in ("collapse", "cast", "transpose"):
                    held = body.codes.get(op.operands[0])
                    suffix = {"collapse": "flat", "cast": "low", "transpose": "turned"}[op.name]
                    if op.get("dtype") in ("float32", "float64"):
                        suffix = "wide"
                    if held is not None and held.text.isidentifier():
                        return [f"{held.text}_{suffix}"]
                return inner
            body = body.outer
        return ["y"]

    def _label(self, value: int) -> str:
        """The label of a value; that of what it is cast to, where it has none of its own."""
        known = self.function.values
        if value not in known or known[value].label:
            return known[value].label if value in known else ""
        readers = (self.ops[u] for u in self.users.get(value, ()) if u < len(self.ops))
        return next((op.result.label for op in readers if op.name == "cast"), "")

    def argument(self, value: int, label: str = "") -> str:
        """The Python name of an argument, bound when first asked for."""
        if value not in self.arguments:
            self.arguments[value] = self.name(value, -1, label or "x")
        return self.arguments[value]

    def temporary(self, base: str) -> str:
        """A name that nothing holds."""
        taken = set(self.model.taken)
        body: Body | None = self
        while body is not None:
            taken |= body.names.keys()
            body = body.outer
        name = fresh(identifier(base), taken)
        self.names[name] = None
        return name

    # Source.

    def emit(self, text: str, op: Op | None = None) -> None:
        """Append a line; the first of a line of the model says which."""
        note = ""
        if op is not None and op.span is not None and op.span.line != self.function.line:
            self.function.line = op.span.line
            note = f"  # {op.span.line}"
        self.lines.append(" " * self.indent + text + note)

    def code(self, value: int) -> Code:
        """Source of a value: its name, or the expression that computes it."""
        body: Body | None = self
        while body is not None:
            if value in body.codes:
                return body.codes[value]
            if value in body.index:
                op = body.ops[body.index[value]]
                if op.name in ATOMS or value in body.inlined:
                    return self.expression(op) if body is self else body.expression(op)
            body = body.outer
        raise AssertionError(f"value {value} of {self.function.instance.path!r} is not written yet")

    def array(self, value: int) -> Code:
        """Source of a value as an array, also where it is a number."""
        return as_array(self.code(value), self.function.values[value].type.dtype)

    def expression(self, op: Op) -> Code:
        """Source of an op of one result."""
        function = self.function
        if op.name in ("param", "state"):
            group = "params" if op.name == "param" else "state"
            path = [*(op["child"].split(".") if op["child"] else ()), op["name"]]
            return Code(group + "".join(f'["{p}"]' for p in path))
        of = self.array if op.name == "call" else self.code
        args = [of(o) for o in op.operands]
        while op.name not in ATOMS and sum(len(a.text) for a in args) > LONG:
            longest = max(range(len(args)), key=lambda i: len(args[i].text))
            text = args[longest].text
            operand = op.operands[longest]
            if len(text) <= 24 or operand not in self.inlined:
                break
            at = self.index[operand]
            self._assign(operand, self.end[at], args[longest], self.ops[at], strict=True)
            args[longest] = self.codes[operand]
        if op.name == "call":
            return self._call_code(op, args)
        types = [function.values[o].type for o in op.operands]
        orders = [function.values[o].axes for o in op.operands]
        source = OpSource(
            op, types, orders, args, function.size, letters(_dims(op, orders)),
            lambda: self._drawing_key(op), function.dim,
        )  # fmt: skip
        code = source.write()
        self.model.use(*source.helpers)
        return code

    def write(self) -> None:
        """Write every statement."""
        for i, op in enumerate(self.ops):
            if op.name in ATOMS or (op.results and op.results[0].id in self.inlined):
                continue
            special = getattr(self, f"_{op.name}", None)
            if special is not None:
                special(i, op)
                continue
            code = self.expression(op)
            if len(op.results) == 1:
                value = op.results[0].id
                if value not in self.last:
                    continue
                self._assign(value, i, code, op)
            else:
                self.emit(f"{self._targets(i, op.results)} = {code.text}", op)

    def _assign(self, value: int, at: int, code: Code, op: Op, strict: bool = False) -> None:
        """Bind a name to a value that an op gives; what branches give is an array."""
        if value in self.preset:
            code = as_array(code, self.function.values[value].type.dtype)
        name = self.name(value, at, strict=strict)
        self.emit(f"{name} = {code.text}", op)
        self.codes[value] = Code(name, number=code.number)

    def _targets(self, at: int, results: tuple[Value, ...]) -> str:
        names = [self.name(r.id, at) if r.id in self.last else "_" for r in results]
        return ", ".join(names)

    # Metrics.

    def _metric(self, at: int, op: Op) -> None:
        value = self.code(op.operands[0])
        weight = self.code(op.operands[1]) if len(op.operands) > 1 else Code("1")
        if weight.text == "1":
            joined = f"{value.text}, 1"
        else:
            factors = [
                c.text if c.level >= Levels.UNARY else f"({c.text})" for c in (value, weight)
            ]
            joined = f"{' * '.join(factors)}, {weight.text}"
        self._hold(joined)
        self.function.metrics.append((frozenset([op["name"]]), f"{quoted(op['name'])}: ({joined})"))

    def metrics(self, entries: list[tuple[frozenset[str], str]]) -> str:
        """Source of a dict of metrics; where several calls report the same, they are added up."""
        groups: list[tuple[set[str], list[str]]] = []
        for origins, text in entries:
            group = next((g for g in groups if not g[0] & origins), None)
            if group is None:
                group = (set(), [])
                groups.append(group)
            group[0].update(origins)
            group[1].append(text)
        dicts = ["{" + ", ".join(texts) + "}" for _, texts in groups] or ["{}"]
        if len(dicts) == 1:
            return dicts[0]
        self.model.use("joined")
        return f"joined({', '.join(dicts)})"

    def _hold(self, text: str) -> None:
        """Keep the names in an expression for the end of the function, where it will stand."""
        body: Body | None = self
        while body is not None:
            body.names.update(dict.fromkeys(body.names.keys() & words(text)))
            body = body.outer

    # Branches.

    def _if_train(self, at: int, op: Op) -> None:
        live = [k for k, r in enumerate(op.results) if r.id in self.last]
        then, orelse = (
            Body(self.function, r.ops, tuple(r.results[k] for k in live), self.indent + 4, self)
            for r in op.regions
        )
        then.preset = {id: "" for id in then.results if id in then.index}
        then._analyse()  # results are bound where they are made, which is the last read of others
        then.preset = dict.fromkeys(then._own_results(), "")
        then._analyse()
        names: list[str] = []
        for k in live:
            name = self._passed(at, op, k, then)
            if name is None:
                name = self.temporary(self._bases(op.results[k].id)[0])
            else:
                self.names[name] = op.results[k].id
            self.codes[op.results[k].id] = Code(name)
            names.append(name)
        function = self.function
        states, metrics = dict(function.child_state), function.metrics
        ends = []
        for body in (then, orelse):
            function.child_state, function.metrics = dict(states), []
            body.finish(names)
            ends.append((body, function.child_state, function.metrics))
        function.child_state, function.metrics = states, metrics
        # What branches do to children and report is given to all that follows under one name.
        for child in dict.fromkeys(c for _, end, _ in ends for c in end):
            if any(end.get(child) != states.get(child) for _, end, _ in ends):
                name = self.temporary(f"{child}_state")
                for body, end, _ in ends:
                    body.emit(f"{name} = {end.get(child, self._state_of(child))}")
                states = {**states, child: name}
        function.child_state = states
        if any(found for _, _, found in ends):
            name = self.temporary("reported")
            for body, _, found in ends:
                body.emit(f"{name} = {self.metrics(found)}")
            origins = frozenset(o for _, _, found in ends for own, _ in found for o in own)
            metrics.append((origins, f"**{name}"))
        if then.lines or orelse.lines:
            self.emit("if train:", op)
            self.lines += then.lines or [" " * (self.indent + 4) + "pass"]
        if orelse.lines:
            self.emit("else:")
            self.lines += orelse.lines
        for k, name in zip(live, names, strict=True):
            self.names[name] = op.results[k].id

    def _passed(self, at: int, op: Op, k: int, then: Body) -> str | None:
        """The name of a value that the second branch passes on, if the first may bind it anew."""
        passed, made = op.regions[1].results[k], op.regions[0].results[k]
        held = self.codes.get(passed)
        if (
            held is None
            or held.number
            or self.names.get(held.text) != passed
            or self.last.get(passed, -1) > at
        ):
            return None
        if op.regions[1].results.count(passed) > 1 or any(
            passed in r.results for inner in op.regions[1].ops for r in inner.regions
        ):
            return None
        if any(passed in o.operands for o in walk(op.regions[1].ops)):
            return None
        return held.text if then.last.get(passed, -1) <= then.index.get(made, -1) else None

    def _own_results(self) -> set[int]:
        """Results that are made here, once each."""
        return {i for i in self.results if i in self.index and self.results.count(i) == 1}

    def finish(self, names: list[str]) -> None:
        """Write a branch that binds these names to its results."""
        self.preset = {}
        own = self._own_results()
        self.preset = {id: name for id, name in zip(self.results, names, strict=True) if id in own}
        self._analyse()
        self.write()
        pairs = [
            (name, self.array(id).text)
            for id, name in zip(self.results, names, strict=True)
            if self.codes.get(id) != Code(name)
        ]
        pairs = [(name, text) for name, text in pairs if text != name]
        read = {w for _, text in pairs for w in words(text)}
        if len(pairs) > 1 and any(name in read for name, _ in pairs):
            self.emit(f"{', '.join(n for n, _ in pairs)} = {', '.join(t for _, t in pairs)}")
        else:
            for name, text in pairs:
                self.emit(f"{name} = {text}")

    # Calls.

    def _parts(self, op: Op) -> tuple[str, Effects, str]:
        function, model = self.function, self.model
        child = model.module.child_of(function.instance, op["child"])
        found = effects(model.module, child.path, op["variant"])
        return model.function_name(child.path, op["variant"]), found, op["child"]

    def _state_of(self, child: str) -> str:
        return self.function.child_state.get(child, f'state["{child}"]')

    def _outputs(self, at: int, op: Op, found: Effects, child: str) -> list[str]:
        names = [self.name(r.id, at) if r.id in self.last else "_" for r in op.results]
        if found.state:
            names.append(self.temporary(f"{child}_state"))
            self.function.child_state[child] = names[-1]
        if found.metrics:
            names.append(self.temporary(f"{child}_metrics"))
        return names

    def _collect(self, found: Effects, child: str, name: str) -> None:
        if found.metrics:
            entry = f'**{{f"{child}.{{k}}": m for k, m in {name}.items()}}'
            self.function.metrics.append((frozenset([f"{child}."]), entry))

    def _drawing_key(self, op: Op) -> str:
        own = f"0x{op['salt']:08x}"
        if not self.salts:
            return f"random.fold_in({self.key}, {own})"
        self.model.use("fold")
        return f"fold({self.key}, {', '.join((*self.salts, own))})"

    def _key_for(self, op: Op) -> str:
        self.model.use("fold")
        return f"fold({self.key}, 0x{salt(op['child'], op['occurrence']):08x})"

    def _call(self, at: int, op: Op) -> None:
        _, found, child = self._parts(op)
        code = self._call_code(op, [self.array(o) for o in op.operands])
        outputs = self._outputs(at, op, found, child)
        self._collect(found, child, outputs[-1])
        self.emit(f"{', '.join(outputs)} = {code.text}", op)

    def _call_code(self, op: Op, operands: list[Code]) -> Code:
        function, found, child = self._parts(op)
        args = [f'params["{child}"]'] if found.params else []
        args += [self._state_of(child)] if found.state else []
        args += [o.text for o in operands]
        args += [self._key_for(op)] if found.key else []
        args += ["train"] if found.train or found.key else []
        return Code(f"{function}({', '.join(args)})")

    def _repeat(self, at: int, op: Op) -> None:
        function, found, child = self._parts(op)
        count = self.function.dim(op["along"])
        becomes = {argument: result for result, argument in op["carried"]}
        operands = [self.array(o).text for o in op.operands]
        inputs = (
            self.model.module.child_of(self.function.instance, op["child"])
            .variants[op["variant"]]
            .inputs
        )
        unrolls = self.model.unrolls(self.function.instance, child)
        # Names inside a step may hide those around it, but for the ones that the call reads.
        shared = [t for i, t in enumerate(operands) if i not in becomes and i not in op["dealt"]]
        taken = {*self.model.taken, *(w for text in shared for w in words(text))}

        def own(base: str) -> str:
            name = self.temporary(base) if unrolls else fresh(identifier(base), taken)
            taken.add(name)
            return name

        stacks: list[tuple[str, str]] = []  # (name inside, source outside)

        def dealt(base: str, source: str) -> str:
            stacks.append((own(base), source))
            return stacks[-1][0]

        args = [dealt("layer", f'params["{child}"]')] if found.params else []
        state = dealt("layer_state", self._state_of(child)) if found.state else ""
        args += [state] if found.state else []
        carry: dict[int, str] = {}
        for index, (value, text) in enumerate(zip(inputs, operands, strict=True)):
            if index in becomes:
                carry[index] = own(value.label or "x")
                args.append(carry[index])
            else:
                args.append(dealt(value.label or "x", text) if index in op["dealt"] else text)
        if found.key:
            self.model.use("fold", "copy_keys")
            args.append(dealt("layer_key", f"copy_keys({self._key_for(op)}, {count})"))
        args += ["train"] if found.train or found.key else []
        call = f"{function}({', '.join(args)})"
        carried = dict(op["carried"])
        gives = [
            carry[carried[i]] if i in carried else own(f"y{i}" if i else "y")
            for i in range(len(op.results))
        ]
        stacked = [name for i, name in enumerate(gives) if i not in carried]
        metrics = own("found") if found.metrics else ""
        more = [*([state] if found.state else []), *([metrics] if found.metrics else [])]
        gives, stacked = gives + more, stacked + more
        first = [(carry[a], operands[a]) for _, a in op["carried"]]
        if unrolls:
            self._unrolled(at, op, call, count, stacks, gives, stacked, first, found, child)
            return
        names = [name for name, _ in first]
        step = self.temporary("step")
        several = own("carry"), own("copy")
        self.emit("")
        self.emit(
            f"def {step}({_pattern_name(names, several[0], '_carry')}, "
            f"{_pattern_name([n for n, _ in stacks], several[1])}):"
        )
        inner = " " * 4
        if len(names) > 1:
            self.emit(f"{inner}{', '.join(names)} = {several[0]}")
        if len(stacks) > 1:
            self.emit(f"{inner}{', '.join(n for n, _ in stacks)} = {several[1]}")
        if len(gives) == 1 and names == gives:
            self.emit(f"{inner}return {call}, None")
        else:
            self.emit(f"{inner}{', '.join(gives)} = {call}")
            self.emit(f"{inner}return {_tuple(names)}, {_tuple(stacked)}")
        self.emit("")
        xs = _tuple([s for _, s in stacks])
        length = f", length={count}" if not stacks else ""
        final = [self._target(at, op.results[r]) for r, _ in op["carried"]]
        ys = [self._target(at, r) for i, r in enumerate(op.results) if i not in carried]
        ys += self._around(found, child)
        self.emit(
            f"{_pattern(final)}, {_pattern(ys)} = "
            f"lax.scan({step}, {_tuple([s for _, s in first])}, {xs}{length})",
            op,
        )

    def _around(self, found: Effects, child: str) -> list[str]:
        """Names for the states and metrics of all copies of a child."""
        names = []
        if found.state:
            names.append(self.temporary(f"{child}_state"))
            self.function.child_state[child] = names[-1]
        if found.metrics:
            names.append(self.temporary(f"{child}_metrics"))
            self._collect_copies(child, names[-1])
        return names

    def _collect_copies(self, child: str, name: str) -> None:
        entry = f'**{{f"{child}.{{k}}": (s.sum(0), n.sum(0)) for k, (s, n) in {name}.items()}}'
        self.function.metrics.append((frozenset([f"{child}."]), entry))

    def _target(self, at: int, value: Value) -> str:
        return self.name(value.id, at) if value.id in self.last else "_"

    def _unrolled(self, at, op, call, count, stacks, gives, stacked, first, found, child):
        """The copies one after the other, in a loop of Python's."""
        self.model.use("copy_of")
        for name, source in first:
            self.emit(f"{name} = {source}")
        sources = []
        for name, source in stacks:
            if not source.startswith(("params[", "state[")) and not source.isidentifier():
                held = self.temporary(f"{name}s")
                self.emit(f"{held} = {source}")
                source = held
            sources.append((name, source))
        lists = [self.temporary(f"{child}_{s}") for s in stacked]
        for name in lists:
            self.emit(f"{name} = []")
        number = self.temporary("i")
        self.emit(f"for {number} in range({count}):", op)
        inner = " " * 4
        for name, source in sources:
            self.emit(f"{inner}{name} = copy_of({source}, {number})")
        self.emit(f"{inner}{', '.join(gives)} = {call}")
        for name, given in zip(lists, stacked, strict=True):
            self.emit(f"{inner}{name}.append({given})")
        for name in lists:
            self.model.use("stacked")
            self.emit(f"{name} = stacked({name})")
        carried = dict(op["carried"])
        values = [op.results[r] for r in carried]
        values += [r for i, r in enumerate(op.results) if i not in carried]
        names = [name for name, _ in first] + lists
        for value, name in zip(values, names, strict=False):
            self.codes[value.id] = Code(name)
            self.names[name] = value.id
        extra = names[len(values) :]
        if found.state:
            self.function.child_state[child] = extra.pop(0)
        if found.metrics:
            self._collect_copies(child, extra.pop(0))

    def _each(self, at: int, op: Op) -> None:
        function, found, child = self._parts(op)
        count = self.function.dim(op["along"])
        args, axes_ = [], []
        if found.params:
            args.append(f'params["{child}"]')
            axes_.append("0")
        if found.state:
            args.append(self._state_of(child))
            axes_.append("0")
        for index, o in enumerate(op.operands):
            args.append(self.array(o).text)
            axes_.append("0" if index in op["dealt"] else "None")
        size = "" if "0" in axes_ else f", axis_size={count}"
        spread = op.get("spread", ())
        if spread:
            names = ", ".join(f'"{axis}"' for axis in spread)
            size += f", spmd_axis_name={names if len(spread) == 1 else f'({names})'}"
        if found.key:
            self.model.use("fold", "copy_keys")
            args.append(f"copy_keys({self._key_for(op)}, {count})")
            axes_.append("0")
        if found.train or found.key:
            args.append("train")
            axes_.append("None")
        outputs = self._outputs(at, op, found, child)
        if found.metrics:
            self._collect_copies(child, outputs[-1])
        if found.train or found.key:
            body = f"lambda *a: {function}(*a, train)"
            args, axes_ = args[:-1], axes_[:-1]
        else:
            body = function
        mapped = f"jax.vmap({body}, ({', '.join(axes_)}{',' if len(axes_) == 1 else ''}){size})"
        self.emit(f"{', '.join(outputs)} = {mapped}({', '.join(args)})", op)

    # Loops.

    def _scan(self, at: int, op: Op) -> None:
        (region,) = op.regions
        carry = op["carry"]
        inputs = len(op.operands) - carry
        step_argument, *arguments = region.arguments
        body = Body(self.function, region.ops, region.results, self.indent + 4, self)
        uses_step = step_argument.id in _reads(region)
        draws = self._draws(region)
        names = []
        for argument in arguments:
            name = body.temporary(argument.label.split(".")[0] or "x")
            body.codes[argument.id] = Code(name)
            body.names[name] = argument.id
            names.append(name)
        xs = [
            (n, self.array(o).text)
            for n, o in zip(names[:inputs], op.operands[:inputs], strict=True)
        ]
        if uses_step or draws:
            name = body.temporary("t")
            body.codes[step_argument.id] = Code(name)
            xs.append((name, f"jnp.arange({self.function.dim(op['along'])})"))
        first = [self.array(o).text for o in op.operands[inputs:]]
        carried = names[inputs:]
        step = self.temporary("step")
        self.emit("")
        inner_x = [n for n, _ in xs]
        several = [body.temporary(n) if len(of) > 1 else n
                   for n, of in (("carry", carried), ("inputs", inner_x))]  # fmt: skip
        self.emit(
            f"def {step}({_pattern_name(carried, several[0], '_carry')}, "
            f"{_pattern_name(inner_x, several[1])}):"
        )
        if len(carried) > 1:
            body.emit(f"{', '.join(carried)} = {several[0]}")
        if len(inner_x) > 1:
            body.emit(f"{', '.join(inner_x)} = {several[1]}")
        if draws:
            self.model.use("fold")
            body.key = body.temporary("step_key")
            body.emit(f"{body.key} = fold({self.key}, {xs[-1][0]})")
        body.write()
        ends = [body.array(r).text for r in region.results[:carry]]
        emits = [body.array(r).text for r in region.results[carry:]]
        body.emit(f"return {_tuple(ends)}, {_tuple(emits)}")
        self.lines += body.lines
        self.emit("")
        final = [self._target(at, r) for r in op.results[:carry]]
        ys = [self._target(at, r) for r in op.results[carry:]]
        more = f", length={self.function.dim(op['along'])}" if not xs else ""
        left = f"{_pattern(final)}, {_pattern(ys)}"
        self.emit(
            f"{left} = lax.scan({step}, {_tuple(first)}, {_tuple([s for _, s in xs])}{more})", op
        )

    def _draws(self, region: Region) -> bool:
        for op in walk(region.ops):
            if lookup(op.name).effect == "random":
                return True
            if op.name in CALLS and self._parts(op)[1].key:
                return True
        return False


def _dims(op: Op, orders) -> list[Dim]:
    """The dims of an op's operands and results, by id."""
    found = {
        d for order in (*orders, *(r.order for r in op.results)) for axis in order for d in axis
    }
    return sorted(found, key=lambda d: d.id)


def _reads(region: Region) -> list[int]:
    """Values that a region reads, of those around it and its own."""
    found = list(region.results)
    for op in walk(region.ops):
        found += op.operands
        for inner in op.regions:
            found += inner.results
    return found


def _tuple(parts: list[str]) -> str:
    if not parts:
        return "None"
    return parts[0] if len(parts) == 1 else "(" + ", ".join(parts) + ")"


def _pattern(names: list[str]) -> str:
    if not names or set(names) == {"_"}:
        return "_"
    return names[0] if len(names) == 1 else "(" + ", ".join(names) + ")"


def _pattern_name(names: list[str], several: str, none: str = "_") -> str:
    return names[0] if len(names) == 1 else several if names else none


def words(text: str) -> set[str]:
    """The identifiers in source, those in strings aside."""
    return set(re.findall(r"[^\W\d]\w*", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)))
