"""The emitted `model.py`: one function a layer, initializers, and the entries that the runtime
calls."""

from __future__ import annotations

import re
from pathlib import Path

from ..ir.core import Instance, Module, Op, Variant, walk
from ..ir.diagnostics import Span
from ..ir.effects import draws, effects, holds
from ..ir.ops.helpers import HELPERS
from ..ir.ops.layout import spec
from ..ir.placement import input_spec, variable_spec
from ..ir.plan import Plan, find
from ..ir.signature import CALLS
from .body import Body
from .function import Function
from .initial import Initials
from .lines import Entries, nested, packed, tidy
from .metrics import collected
from .naming import RESERVED, documented, fresh, identifier, prose, quoted, snake, wrap

SUPPORT = {
    "fold": '''
def fold(key, *salts):
    """The key with numbers folded in, one after the other; without a key there is none."""
    for salt in salts:
        key = None if key is None else random.fold_in(key, salt)
    return key
''',
    "copy_keys": '''
def copy_keys(key, count):
    """One key for each of several copies of a layer."""
    return None if key is None else jax.vmap(random.fold_in, (None, 0))(key, jnp.arange(count))
''',
    "copy_of": '''
def copy_of(tree, i):
    """The arrays of copy `i` of a repeated layer."""
    return jax.tree.map(lambda a: a[i], tree)
''',
    "joined": '''
def joined(*found):
    """Metrics of several calls of one layer: sums and counts are added up."""
    metrics = {}
    for name, (total, count) in (m for part in found for m in part.items()):
        before, seen = metrics.get(name, (0, 0))
        metrics[name] = before + total, seen + count
    return metrics
''',
    "stacked": '''
def stacked(trees):
    """Equal trees as one, their arrays stacked."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
''',
    "in_groups": '''
def in_groups(tree, size):
    """Stacked arrays cut into equal groups, of `size` copies or of fewer where it must be."""

    def cut(a):
        each = next(n for n in range(size, 0, -1) if len(a) % n == 0)
        return a.reshape(len(a) // each, each, *a.shape[1:])

    return jax.tree.map(cut, tree)
''',
    "ungrouped": '''
def ungrouped(tree):
    """Stacked arrays that were cut into groups, whole again."""
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), tree)
''',
    "tied": '''
@jax.custom_vjp
def tied(*given):
    """What is given; no gradient of it goes on before all are there, for a weight's that is put
    off would keep alive what it is made of."""
    return given


tied.defvjp(lambda *given: (given, None), lambda _, gradients: lax.optimization_barrier(gradients))
''',
}


class ModelWriter:
    """Writes the model of a module that has been laid out.

    Args:
        module: the module; the fact `ordered` must hold.
        plan: the plan that was applied to it: which repeats are unrolled, and placement.
        source: the name of the model's file, for comments.
    """

    def __init__(self, module: Module, plan: Plan, source: str):
        self.module, self.plan, self.source = module, plan, source
        self.helpers: dict[str, None] = {}
        self.constants: dict[str, int] = {}
        self.functions: dict[tuple, str] = {}
        self.names: dict[tuple[str, int], str] = {}
        self.texts: list[list[str]] = []
        self.taken: set[str] = RESERVED | {
            identifier(d.name) for i in module.instances for d in i.dims
        }
        self._sizes = self._named_sizes()

    # Names.

    def _named_sizes(self) -> dict[str, int]:
        """Names of dims that mean the same number throughout."""
        found: dict[str, set] = {}
        for instance in self.module.instances:
            for dim in instance.dims:
                found.setdefault(dim.name, set()).add(
                    dim.size.value if dim.size.is_constant else str(dim.size)
                )
        single = {n: next(iter(v)) for n, v in found.items() if len(v) == 1}
        return {n: v for n, v in single.items() if isinstance(v, int) and n not in RESERVED}

    def constant(self, dim, value: int) -> str:
        """A constant size: the name of its dim where that means one number, else the number."""
        if dim is not None and self._sizes.get(dim.name) == value:
            self.constants[dim.name] = value
            return dim.name
        return str(value)

    def use(self, *names: str) -> None:
        """Note that source calls a helper."""
        self.helpers.update(dict.fromkeys(names))

    def unrolls(self, instance: Instance, child: str) -> bool:
        """Whether the plan unrolls a repeat."""
        path = f"{instance.path}.{child}" if instance.path else child
        decision = find(self.plan.roll, path)
        return decision is not None and decision.choice == "unroll"

    def function_name(self, path: str, variant: int) -> str:
        """The function of a variant, written when it is first asked for."""
        if (path, variant) not in self.names:
            self.names[(path, variant)] = self._function(self.module.instance(path), variant)
        return self.names[(path, variant)]

    # Functions.

    def _function(self, instance: Instance, index: int) -> str:
        """One function serves all instances whose source is the same, up to the place in the
        tree."""
        signature, *body = self._write(instance, index)
        identity = (instance.layer, signature, *body)
        if identity not in self.functions:
            name = fresh(identifier(snake(instance.layer)), self.taken)
            self.taken.add(name)
            self.functions[identity] = name
            self.texts.append([*wrap(f"def {name}({signature}):"), *body])
        return self.functions[identity]

    def _write(self, instance: Instance, index: int) -> list[str]:
        """The arguments of a function, and the lines of its body."""
        variant = instance.variants[index]
        found = effects(self.module, instance.path, index)
        for op in walk(variant.ops):  # what is called has its name first, lest a value take it
            if op.name in CALLS:
                self.function_name(self.module.child_of(instance, op["child"]).path, op["variant"])
        function = Function(self, instance, variant)
        results = tuple(r.value for r in variant.results)
        written = tuple(v for _, v in variant.writes)
        body = Body(function, variant.ops, (*results, *written), 4, None)
        arguments = ["params"] if found.params else []
        arguments += ["state"] if found.state else []
        for value in variant.inputs:
            argument = body.argument(value.id, value.label)
            arguments.append(argument)
        root = instance.path == "" or instance.path == self.module.model
        arguments += (["key=None"] if root else ["key"]) if found.key else []
        arguments += (["train=False"] if root else ["train"]) if found.train or found.key else []
        body.write()
        gives = [("y", body.array(r).text) for r in results]
        if found.state:
            gives.append(("new_state", self._new_state(instance, variant, body)))
        if found.metrics:
            gives.append(("metrics", collected(body, function.reports)))
        _return(body, gives, body.made(results[0]) if results else None)
        lines = tidy([*self._shapes(function, body), *body.lines])
        return [", ".join(arguments), *self._docstring(instance), *lines]

    def _docstring(self, instance: Instance) -> list[str]:
        span = instance.span
        place = f" ({self._file(span)}:{span.line})" if span is not None else ""
        doc = prose(re.split(r"\n\s*\n", instance.doc.strip())[0])  # what follows is for its users
        said = f"{prose(instance.layer)}{place}"
        text = f'    """{documented(f"{said}: {doc}" if doc else f"{said}.")}"""'
        if len(text) <= 100:
            return [text]
        import textwrap

        rows = textwrap.wrap(doc, 92, break_long_words=False, break_on_hyphens=False)
        body = [f"    {documented(row)}" for row in rows]
        return [f'    """{documented(said)}.', "", *body, '    """']

    def _file(self, span: Span) -> str:
        """The name of the file that a layer is from: the model's own, or one that it imports."""
        root = self.module.instances[0].span
        return self.source if root is None or span.file == root.file else Path(span.file).name

    def _shapes(self, function: Function, body: Body) -> list[str]:
        """Lines that bind the sizes of free dims from the shapes of the inputs."""
        wanted = dict(function.dims)
        lines = []
        for value in function.variant.inputs:
            places_of = {a[0]: i for i, a in enumerate(value.axes) if len(a) == 1}
            here = {n: places_of[d] for n, d in wanted.items() if d in places_of}
            names = list(here)
            if not names:
                continue
            argument = body.argument(value.id)
            places = sorted(here[n] for n in names)
            if places == list(range(len(places))):
                ordered = sorted(names, key=here.__getitem__)
                rank = len(value.axes)
                cut = "" if rank == len(places) else f"[:{len(places)}]"
                if len(places) == 1:
                    lines.append(f"    {ordered[0]} = {argument}.shape[0]")
                else:
                    lines.append(f"    {', '.join(ordered)} = {argument}.shape{cut}")
            else:
                lines += [f"    {n} = {argument}.shape[{here[n]}]" for n in names]
            for n in names:
                del wanted[n]
        return lines

    def _new_state(self, instance: Instance, variant: Variant, body: Body) -> str:
        writes = dict(variant.writes)
        parts = []
        for state in instance.states:
            code = (
                body.array(writes[state.name]).text
                if state.name in writes
                else f'state["{state.name}"]'
            )
            parts.append(f'"{state.name}": {code}')
        for child in instance.children:
            path = self.module.child_of(instance, child.name).path
            if holds(self.module, path, "states"):
                code = body.function.state_of(child.name)
                parts.append(f'"{child.name}": {code}')
        return "{" + ", ".join(parts) + "}"

    # The file.

    def write(self) -> str:
        """The whole file."""
        module = self.module
        root = module.instances[0]
        entry = self.function_name("", 0)
        Initials(self, "params").function(root)
        if holds(module, "", "states"):
            Initials(self, "states").function(root)
        tail = self._entries(root, entry)
        name, source = documented(prose(root.layer)), documented(prose(self.source))
        first = f'"""{name}, written by Netwright from {source}'
        head = [first + '; numbers after # are lines there."""']
        if len({i.span.file for i in module.instances if i.span is not None}) > 1:
            where = "Numbers after # are lines of the file that a function names."
            head = [first + ".", "", where, '"""']
        head.append("")
        specs = self._specs()
        text = "\n".join(line for block in self.texts for line in block)
        text += "\n".join(tail)
        support = [SUPPORT[n].strip().split("\n") for n in SUPPORT if n in self.helpers]
        ops = [HELPERS[n].strip().split("\n") for n in HELPERS if n in self.helpers]
        whole = text + "\n".join(line for block in [*support, *ops] for line in block)
        imports = ["import jax"] if "jax." in whole.replace("jax.numpy", "") else []
        imports += ["import jax.numpy as jnp"] if "jnp." in whole else []
        more = [n for n in ("lax", "random") if f"{n}." in whole.replace(f"jax.{n}", "")]
        imports += [f"from jax import {', '.join(more)}"] if more else []
        if "checkpoint_name(" in whole:
            imports.append("from jax.ad_checkpoint import checkpoint_name")
        if specs or " P(" in whole or "(P(" in whole:
            imports.append("from jax.sharding import PartitionSpec as P")
        constants = packed(self._ordered_constants())
        blocks = [*head, *imports, ""]
        if constants:
            blocks += [*constants, ""]
        if specs:
            blocks += [*specs, ""]
        for block in [*support, *ops, *self.texts]:
            blocks += ["", *block, ""]
        blocks += tail
        return "\n".join(line.rstrip() for line in blocks).rstrip() + "\n"

    def _ordered_constants(self) -> list[tuple[str, int]]:
        order = [d.name for i in self.module.instances for d in i.dims]
        return sorted(self.constants.items(), key=lambda item: order.index(item[0]))

    def _entries(self, root: Instance, entry: str) -> list[str]:
        """`init_state`, `loss` and `predict`: what the runtime calls."""
        module = self.module
        lines: list[str] = []
        if not holds(module, "", "states"):
            lines += [
                "",
                "def init_state():",
                '    """This model has no state."""',
                "    return {}",
                "",
            ]
        if module.kind == "loss":
            found = effects(module, "", 0)
            arguments = ["params"] if found.params else []
            arguments += ["state"] if found.state else []
            arguments += [f"batch[{quoted(v.label)}]" for v in root.variants[0].inputs]
            arguments += ["key"] if found.key else []
            arguments += ["train"] if found.train or found.key else []
            gives = ["value"] + (["state"] if found.state else []) + ["metrics"]
            lines += [
                "",
                "def loss(params, state, batch, key=None, train=False):",
                '    """The loss of a batch, and (new state, metrics as (sum, count))."""',
                *wrap(f"    {', '.join(gives)} = {entry}({', '.join(arguments)})"),
                "    return value, (state, metrics)",
                "",
            ]
        if module.model is not None:
            lines += self._predict(module.model)
        return lines

    def _predict(self, path: str) -> list[str]:
        instance = self.module.instance(path)
        variant = instance.variants[0]
        name = self.function_name(path, 0)
        found = effects(self.module, path, 0)
        inside = "".join(f'["{p}"]' for p in path.split(".") if p)
        arguments = [f"params{inside}"] if found.params else []
        arguments += [f"state{inside}"] if found.state else []
        arguments += [f"batch[{quoted(v.label)}]" for v in variant.inputs]
        if draws(self.module, path, 0):
            arguments.append("random.key(0)")
        call = f"{name}({', '.join(arguments)})"
        count = len(variant.results)
        extra = found.state + found.metrics
        if extra and count == 1:
            call += "[0]"
        elif extra:
            call += f"[:{count}]"
        return [
            "",
            "def predict(params, state, batch):",
            f'    """What {documented(prose(instance.layer))} gives for a batch, in evaluation."""',
            *wrap(f"    return {call}"),
            "",
        ]

    # Placement.

    def _specs(self) -> list[str]:
        """The partition specs of parameters, states and batch, where the plan has a mesh."""
        if not self.plan.mesh.axes:
            return []
        inputs = self.module.instances[0].variants[0].inputs
        tables: dict[str, Entries] = {
            "PARAM_SPECS": self._spec_tree("", "params"),
            "STATE_SPECS": self._spec_tree("", "states"),
            "BATCH_SPECS": [(v.label, spec(input_spec(self.plan, "", v))) for v in inputs],
        }
        return [line for n, tree in tables.items() for line in nested(tree, f"{n} = ", "")]

    def _spec_tree(self, path: str, kind: str) -> Entries:
        """The specs of the parameters, or states, of an instance and all below it."""
        instance = self.module.instance(path)
        found: Entries = []
        for variable in instance.params if kind == "params" else instance.states:
            placed = variable_spec(self.module, self.plan, instance, variable)
            found.append((variable.name, spec(placed)))
        for child in instance.children:
            inner = self.module.child_of(instance, child.name)
            if holds(self.module, inner.path, kind):
                found.append((child.name, self._spec_tree(inner.path, kind)))
        return found


def _return(body: Body, gives: list[tuple[str, str]], op: Op | None) -> None:
    """Give names to what is returned, the last ones first, until it fits on a line.

    op: what makes the first of it
    """
    texts = [text for _, text in gives]
    for index, (name, text) in reversed(list(enumerate(gives))):
        if len(gives) == 1 or len(", ".join(texts)) <= 80:
            break
        if not text.isidentifier():
            texts[index] = name if name == "metrics" else body.temporary(name)
            body.emit(f"{texts[index]} = {text}")
    body.emit(f"return {', '.join(texts)}", None if texts[0].isidentifier() else op)
