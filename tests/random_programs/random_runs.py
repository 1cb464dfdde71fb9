"""What must hold of a random program: every way to run it gives the same numbers.

`check(program)` raises `Wrong`, whose message has the program as text, where something differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from netwright.backend.model import ModelWriter
from netwright.driver import pipeline
from netwright.ir.bind import substitute
from netwright.ir.core import Instance, Module, Op, Result, Variable, Variant, flat, join
from netwright.ir.effects import salt
from netwright.ir.evaluate import Draw, evaluate
from netwright.ir.facts import bodies
from netwright.ir.named import Named
from netwright.ir.plan import Decision, Mesh, Plan, Precision
from netwright.ir.text import parse, show
from netwright.ir.verify import verify
from netwright.passes.manager import Pipeline
from random_modules import Program

TOLERANCE = 1e-9
DOUBLE = Plan(precision=Precision("float64"))


class Wrong(AssertionError):
    """A program that does not do what it means."""

    def __init__(self, what: str, program: Program, source: str = ""):
        sizes = ", ".join(f"{n} = {size}" for n, size in program.sizes.items()) or "none"
        text = f"{what}\n\nfree sizes: {sizes}\n{show(program.module)}"
        super().__init__(text + (f"\nwritten as\n{source}" if source else ""))
        self.what = what


# Arrays


def _numbers(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "float":
        return rng.uniform(-1.5, 1.5, shape)
    return rng.integers(0, 4, shape) if kind == "int" else rng.random(shape) < 0.5


def arrays(program: Program) -> tuple[dict, dict, list]:
    """Parameters, states and inputs: nested dicts by path, copies stacked; and a list."""
    module = substitute(program.module, program.sizes)
    rng = np.random.default_rng(len(show(module)))
    trees: tuple[dict, dict] = ({}, {})
    copies: dict[str, tuple[int, ...]] = {"": ()}
    for instance in module.instances:
        lead = copies[instance.path]
        for child in instance.children:
            more = () if child.along is None else (child.along.size.value,)
            copies[join(instance.path, child.name)] = (*lead, *more)
        for tree, variables in zip(trees, (instance.params, instance.states), strict=True):
            for v in variables:
                node = tree
                for part in instance.path.split(".") if instance.path else ():
                    node = node.setdefault(part, {})
                shape = (*lead, *(d.size.value for d in v.order))
                node[v.name] = _numbers(rng, v.type.kind, shape)
    inputs = [
        _numbers(rng, v.type.kind, tuple(d.size.value for d in flat(v.order)))
        for v in module.instances[0].variants[0].inputs
    ]
    return *trees, inputs


def differ(found: Any, wanted: Any, tolerance: float = TOLERANCE) -> str:
    """Half a sentence on where two arrays or nested dicts differ; "" where they do not."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict) or found.keys() != wanted.keys():
            return f"has {sorted(found)}, not {sorted(wanted)}"
        for name in wanted:
            inner = differ(found[name], wanted[name], tolerance)
            if inner:
                return f"{name}: {inner}"
        return ""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        return f"has the shape {found.shape}, not {wanted.shape}"
    if found.dtype.kind.replace("u", "i") != wanted.dtype.kind:
        return f"is {found.dtype}, not {wanted.dtype}"
    if wanted.dtype.kind != "f":
        return "" if (found == wanted).all() else f"is {found.tolist()}, not {wanted.tolist()}"
    finite = np.abs(wanted[np.isfinite(wanted)])
    scale = max(1.0, finite.max(initial=0.0))
    with np.errstate(invalid="ignore"):
        same = np.isclose(found, wanted, tolerance, tolerance * scale, equal_nan=True)
    return "" if same.all() else f"is {found.tolist()}, not {wanted.tolist()}"


Outcome = tuple[tuple, dict, dict]  # results, states, metrics


def compare(found: Outcome, wanted: Outcome, tolerance: float = TOLERANCE) -> str:
    """Where two outcomes differ; "" where they do not."""
    for position, (a, b) in enumerate(zip(found[0], wanted[0], strict=True)):
        if inner := differ(a, b, tolerance):
            return f"result {position} {inner}"
    for what, a, b in zip(("the state", "the metrics"), found[1:], wanted[1:], strict=True):
        if inner := differ(a, b, tolerance):
            return f"{what} {inner}"
    return ""


# What is drawn


def plain(draw: Draw) -> Named:
    """Something that looks drawn, the same in whichever order it is drawn."""
    op, result = draw.op, draw.op.result
    shape = tuple(d.size.value for d in result.type.dims)
    rng = np.random.default_rng(op["salt"])
    if op.name == "dropout":
        keep = np.asarray(op["salt"] % 2 == 0)
        x = draw.args[0]
        array = x.array * keep / (1 - op["rate"]) if op["rate"] else x.array
        return Named(np.asarray(array, np.float64), x.dims)
    return Named(_numbers(rng, result.type.kind, shape), result.type.dims)


def from_key(key: Any) -> Callable[[Draw], Named]:
    """What JAX draws at each place, given the key of the step."""

    def drawn(draw: Draw) -> Named:
        at = reduce(jax.random.fold_in, (*draw.folds, draw.op["salt"]), key)
        return draw_by(at, draw.op, draw.args)

    return drawn


def draw_by(key: Any, op: Op, args: tuple[Named, ...] = ()) -> Named:
    """What an op draws by a key, in double precision."""
    order = op.result.order or tuple((d,) for d in op.result.type.dims)
    dims = flat(order)
    shape = tuple(d.size.value for d in dims)
    random = jax.random
    if op.name == "dropout":
        (x,) = args
        if not op["rate"]:
            return Named(x.array.astype(np.float64), x.dims)
        lead = [d for d in dims if not op["dims"] or d in op["dims"]]
        axes_ = [a if not op["dims"] or set(a) & set(op["dims"]) else () for a in order]
        size = [int(np.prod([d.size.value for d in a])) for a in axes_]
        keep = round(1 - op["rate"], 12)
        mask = np.asarray(random.bernoulli(key, keep, size))
        mask = Named(mask.reshape([d.size.value for d in lead]), tuple(lead))
        array = np.where(mask.over(x.dims), x.array / keep, 0)
        return Named(np.asarray(array, np.float64), x.dims)
    found = {
        "normal": lambda: op["stddev"] * random.normal(key, shape),
        "truncated_normal": lambda: op["stddev"] * random.truncated_normal(key, -2, 2, shape),
        "uniform": lambda: random.uniform(key, shape, minval=op["low"], maxval=op["high"]),
        "randint": lambda: random.randint(key, shape, op["low"], op["high"]),
        "bernoulli": lambda: random.bernoulli(key, op["p"], shape),
    }.get(op.name)
    return Named(np.asarray(found() if found else _initial(key, op, shape)), dims)


def _initial(key: Any, op: Op, shape: tuple[int, ...]) -> Any:
    def places(dims) -> tuple[int, ...]:
        return tuple(op["dims"].index(d) for d in dims)

    ins, outs = places(op["fan_in"]), places(op["fan_out"])
    rest = tuple(i for i in range(len(shape)) if i not in (*ins, *outs))
    if op.name == "orthogonal":
        rows, columns = (int(np.prod([shape[i] for i in side])) for side in (ins, outs))
        batch = tuple(shape[i] for i in rest)
        made = jax.random.orthogonal(key, rows, batch, jnp.float64, m=columns)
        first = (*rest, *ins, *outs)
        made = made.reshape([shape[i] for i in first])
        return op["scale"] * made.transpose([first.index(i) for i in range(len(shape))])
    if op.name == "delta_orthogonal":
        rows, columns = (int(np.prod([shape[i] for i in side])) for side in (ins, outs))
        matrix = jax.random.orthogonal(key, rows, (), jnp.float64, m=columns)
        made = np.zeros([*(shape[i] for i in rest), rows, columns])
        made[tuple((shape[i] - 1) // 2 for i in rest)] = op["scale"] * matrix
        first = (*rest, *ins, *outs)
        made = made.reshape([shape[i] for i in first])
        return made.transpose([first.index(i) for i in range(len(shape))])
    if op.name == "variance_scaling":
        made = partial(
            jax.nn.initializers.variance_scaling, op["scale"], op["mode"], op["distribution"]
        )
    else:
        made = getattr(jax.nn.initializers, op.name)
    return made(in_axis=ins, out_axis=outs, batch_axis=rest)(key, shape, jnp.float64)


# The emitted program


@dataclass
class Emitted:
    """A program as it was written, and how it is run.

    Attributes:
        module: as laid out.
        text: the source of `model.py`.
    """

    module: Module
    text: str
    entry: str
    plan: Plan
    names: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        exec(compile(self.text, "model.py", "exec"), self.names)

    def effects(self):
        from netwright.ir.effects import effects

        return effects(self.module, "", 0)

    def call(self, params, state, inputs, key, *, train: bool) -> Outcome:
        """One call of the entry."""
        found = self.effects()
        args = [params] if found.params else []
        args += [state] if found.state else []
        args += inputs
        args += [key] if found.key else []
        args += [train] if found.train or found.key else []
        given = self.names[self.entry](*args)
        count = len(self.module.instances[0].variants[0].results)
        given = list(given) if count + found.state + found.metrics != 1 else [given]
        metrics = given.pop() if found.metrics else {}
        after = given.pop() if found.state else state
        assert len(given) == count, f"{len(given)} results, not {count}"
        return tuple(given), after, metrics

    def run(self, given: tuple[dict, dict, list], key, train: bool, jit: bool = False) -> Outcome:
        """The outcome as numpy arrays, metrics as means."""
        call = partial(self.call, train=train)
        args = jax.tree.map(jnp.asarray, (*given, key))
        results, state, metrics = (jax.jit(call) if jit else call)(*args)
        with np.errstate(all="ignore"):
            means = {k: np.float64(np.asarray(s) / np.asarray(n)) for k, (s, n) in metrics.items()}
        return jax.tree.map(np.asarray, (results, state, means))


def steps(module: Module, plan: Plan) -> Iterator[tuple[str, Module]]:
    """The module after each pass; each has been verified."""
    for step in pipeline().passes:
        module = Pipeline([step]).run(module, plan)
        yield step.name, module


def emit(module: Module, plan: Plan) -> Emitted:
    """A module that has been laid out, as a program."""
    writer = ModelWriter(module, plan, "random.nw")
    text = writer.write()
    return Emitted(module, text, writer.names[("", 0)], plan)


def repeats(module: Module) -> list[str]:
    """The paths of repeated instances."""
    return [
        join(i.path, c.name) for i in module.instances for c in i.children if c.mode == "repeat"
    ]


def unrolled(module: Module, plan: Plan) -> Plan:
    """The plan with every repeat unrolled."""
    return replace(plan, roll=tuple(Decision(path, "unroll") for path in repeats(module)))


# What must hold


@dataclass
class Checked:
    """What was found out on the way.

    Attributes:
        ops: how often each op occurred, as drawn or after a pass.
    """

    ops: dict[str, int] = field(default_factory=dict)

    def count(self, module: Module) -> None:
        for instance in module.instances:
            for _, _, ops in bodies(instance):
                self._count(ops)

    def _count(self, ops: tuple[Op, ...]) -> None:
        for op in ops:
            self.ops[op.name] = self.ops.get(op.name, 0) + 1
            for region in op.regions:
                self._count(region.ops)


@contextlib.contextmanager
def reporting(program: Program, what: str, source: Callable[[], str] = str):
    """Whatever is raised inside says which program it was."""
    try:
        yield
    except Wrong:
        raise
    except Exception as error:
        said = f"{what}: {type(error).__name__}: {error}"
        raise Wrong(said, program, source()) from error


def check(
    program: Program,
    checked: Checked | None = None,
    *,
    ways: tuple[str, ...] = ("eagerly",),
    unroll: bool = False,
    gradients: bool = False,
    initial: bool = False,
    narrow: bool = False,
    mesh: bool = False,
) -> None:
    """Everything that must hold of a program.

    Args:
        checked: takes note of what occurred.
        ways: how to run it: `eagerly`, `compiled`.
        unroll: also run it with every repeat unrolled.
        gradients: also compare gradients of several plans.
        initial: also compare what initializers give.
        narrow: also compare dtypes with the declared ones, for policies of fewer bits.
        mesh: also run it with constraints, on a mesh of one device.
    """
    module, checked = program.module, checked or Checked()
    with reporting(program, "as drawn"):
        if found := verify(module):
            raise Wrong(f"the module does not verify: {found[0]}", program)
        if parse(show(module)) != module:
            raise Wrong("the text form gives another module", program)
    stages = [("as drawn", module)]
    with reporting(program, "a pass"):
        stages += steps(module, DOUBLE)
    for _, stage in stages:
        checked.count(stage)
    with reporting(program, "the text form of the module after the passes"):
        if parse(show(stages[-1][1])) != stages[-1][1]:
            raise Wrong("the text form gives another module after the passes", program)
    given = arrays(program)
    _same_meaning(program, stages, given)
    # As the driver does: sizes that no input of a layer tells are written as they are bound.
    done = replace(stages[-1][1], sizes=tuple(program.sizes.items()))
    with reporting(program, "writing"):
        writer = ModelWriter(done, DOUBLE, "random.nw")
        text = writer.write()
        if ModelWriter(done, DOUBLE, "random.nw").write() != text:
            raise Wrong("written twice, it is another program", program, text)
    with jax.enable_x64(True), reporting(program, "the program", lambda: text):
        program_ = Emitted(done, text, writer.names[("", 0)], DOUBLE)
        _runs(program, program_, given, ways)
        _shapes(program, program_, given)
        if unroll and repeats(module):
            _unrolled(program, program_, given)
        if gradients:
            _gradients(program, program_, given)
        if initial:
            _initials(program, program_)
        if mesh:
            _on_a_mesh(program, program_, given, checked)
    if narrow:
        for policy in ("float32", "bfloat16", "float16"):
            with jax.enable_x64(False), reporting(program, f"dtypes of {policy}"):
                _narrow(program, policy, given, checked)


def _same_meaning(program: Program, stages, given) -> None:
    for train in (True, False):
        first: Outcome | None = None
        for name, stage in stages:
            with reporting(program, f"meaning, {name}"):
                found = evaluate(stage, *given, train=train, sizes=program.sizes, random=plain)
            if first is None:
                first = found
            elif different := compare(found, first):
                raise Wrong(f"after {name}, train={train}: {different}", program)


def meaning(program: Program, module: Module, given, key, train: bool) -> Outcome:
    """What a module means, with what JAX draws by a key."""
    results, state, metrics = evaluate(
        module, *given, train=train, sizes=program.sizes, random=from_key(key)
    )
    return results, state, {k: np.float64(m) for k, m in metrics.items()}


def _runs(program: Program, emitted: Emitted, given, ways: tuple[str, ...]) -> None:
    key = jax.random.key(7)
    for train in (True, False) if emitted.effects().train else (True,):
        wanted = meaning(program, emitted.module, given, key, train)
        for way in ways:
            found = emitted.run(given, key, train, way == "compiled")
            if different := compare(found, wanted):
                raise Wrong(f"run {way}, train={train}: {different}", program, emitted.text)
        if not train and not program.draws:
            _predicts(program, emitted, given, wanted, "compiled" in ways)


def _predicts(program: Program, emitted: Emitted, given, wanted: Outcome, jit: bool) -> None:
    """`loss` and `predict`, as the runtime calls them, give what the entry gives."""
    names = [v.label for v in emitted.module.instances[0].variants[0].inputs]
    params, state, inputs = jax.tree.map(jnp.asarray, given)
    batch = dict(zip(names, inputs, strict=True))
    function = emitted.names[emitted.module.kind.replace("model", "predict")]
    value = (jax.jit(function) if jit else function)(params, state, batch)
    if emitted.module.kind == "loss":
        value, (after, _) = value
        found, results = ((value,), after or state), (wanted[0], wanted[1])
    else:
        found = (value if len(wanted[0]) != 1 else (value,), {})
        results = (wanted[0], {})
    found = jax.tree.map(np.asarray, found)
    if different := compare((*found, {}), (*results, {})):
        raise Wrong(f"{emitted.module.kind}: {different}", program, emitted.text)


def _on_a_mesh(program: Program, emitted: Emitted, given, checked: Checked) -> None:
    """Constraints change nothing."""
    dims = (d for _, _, op in emitted.module.walk() for r in op.results for d in r.type.dims)
    rules = tuple((name, ("data",)) for name in sorted({d.name for d in dims})[:1])
    plan = replace(DOUBLE, mesh=Mesh((("data", 1),), rules))
    with reporting(program, "a pass, with a mesh"):
        *_, (_, done) = steps(program.module, plan)
    checked.count(done)
    other = emit(done, plan)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh), reporting(program, "on a mesh", lambda: other.text):
        key = jax.random.key(7)
        wanted = meaning(program, done, given, key, True)
        if different := compare(other.run(given, key, True, jit=True), wanted):
            raise Wrong(f"on a mesh: {different}", program, other.text)


def _narrow(program: Program, policy: str, given, checked: Checked) -> None:
    """Results and states have the dtypes that the module declares."""
    plan = Plan(precision=Precision(policy))
    *_, (_, done) = steps(program.module, plan)
    checked.count(done)
    if parse(show(done)) != done:
        raise Wrong(f"the text form gives another module, as {policy}", program)
    one = emit(done, plan)
    inputs = done.instances[0].variants[0].inputs
    wide = jax.tree.map(lambda a: np.asarray(a, np.float32) if a.dtype.kind == "f" else a, given)
    wide = jax.tree.map(jnp.asarray, wide)
    wide[2][:] = [x.astype(v.type.dtype) for x, v in zip(wide[2], inputs, strict=True)]
    with reporting(program, f"traced as {policy}", lambda: one.text):
        found = jax.eval_shape(partial(one.call, train=True), *wide, jax.random.key(7))
        results, state, _ = found
        from netwright.ir.signature import values

        known = values(done.instances[0].variants[0])
        for position, (array, result) in enumerate(
            zip(results, done.instances[0].variants[0].results, strict=True)
        ):
            if str(array.dtype) != known[result.value].type.dtype:
                stated = known[result.value].type.dtype
                said = f"result {position} is {array.dtype}, declared {stated}, as {policy}"
                raise Wrong(said, program, one.text)
        before = jax.tree.map(lambda a: (a.shape, str(a.dtype)), wide[1])
        after = jax.tree.map(lambda a: (a.shape, str(a.dtype)), state)
        if before != after:
            raise Wrong(f"the state is {after}, was {before}, as {policy}", program, one.text)


def _shapes(program: Program, emitted: Emitted, given) -> None:
    """Shapes and kinds are those that the module declares."""
    done = substitute(emitted.module, program.sizes)
    (variant,) = done.instances[0].variants
    found = jax.eval_shape(
        partial(emitted.call, train=True), *jax.tree.map(jnp.asarray, given), jax.random.key(7)
    )
    from netwright.ir.signature import values

    known = values(variant)
    for position, (array, result) in enumerate(zip(found[0], variant.results, strict=True)):
        shape = tuple(d.size.value for d in result.order)
        kind = {"f": "float", "i": "int", "b": "bool"}[np.dtype(array.dtype).kind]
        if array.shape != shape or kind != known[result.value].type.kind:
            raise Wrong(
                f"result {position} has the shape {array.shape} of {array.dtype}, declared is "
                f"{shape} of {known[result.value].type}",
                program,
                emitted.text,
            )


def _unrolled(program: Program, emitted: Emitted, given) -> None:
    plan = unrolled(program.module, DOUBLE)
    other = emit(emitted.module, plan)
    with reporting(program, "unrolled", lambda: other.text):
        for train in (True, False):
            key = jax.random.key(7)
            wanted = meaning(program, emitted.module, given, key, train)
            if different := compare(other.run(given, key, train), wanted):
                raise Wrong(f"unrolled, train={train}: {different}", program, other.text)


def _gradients(program: Program, emitted: Emitted, given) -> None:
    """The gradients of all plans are the same."""
    from netwright.passes.layout import lay_out

    flatter = list(steps(program.module, DOUBLE))[-2][1]
    others = [
        ("unrolled", emit(emitted.module, unrolled(program.module, DOUBLE))),
        ("without collapsed axes", emit(lay_out(flatter, collapse=False), DOUBLE)),
    ]
    params, state, inputs = jax.tree.map(jnp.asarray, given)
    floats = [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]

    def total(one: Emitted, params, given):
        mixed = list(inputs)
        for i, x in zip(floats, given, strict=True):
            mixed[i] = x
        found = one.call(params, state, mixed, jax.random.key(7), train=True)
        leaves = [r for r in jax.tree.leaves(found[:2]) if r.dtype.kind == "f"]
        return sum((jnp.where(jnp.isfinite(r), r, 0).sum() for r in leaves), jnp.float64(0))

    slopes = [
        jax.jit(jax.grad(partial(total, one), (0, 1)))(params, [inputs[i] for i in floats])
        for one in (emitted, *(o for _, o in others))
    ]
    wanted = jax.tree.leaves(slopes[0])
    for (name, one), found in zip(others, slopes[1:], strict=True):
        for a, b in zip(jax.tree.leaves(found), wanted, strict=True):
            if different := differ(a, b, 1e-8):
                raise Wrong(f"the gradient {name} {different}", program, one.text)


def _initials(program: Program, emitted: Emitted) -> None:
    """Initializers give what they mean, each copy by a key of its own."""
    key = jax.random.key(3)
    done = emitted.module
    places: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {"": ((), ())}
    made = (emitted.names["init_params"](key), emitted.names["init_state"]())
    for instance in done.instances:
        folds, copies = places[instance.path]
        for child in instance.children:
            more = () if child.along is None else (child.along.size.evaluate(program.sizes),)
            # -1 marks where the number of the copy is folded in.
            own = (*folds, salt(child.name), *(-1 for _ in more))
            places[join(instance.path, child.name)] = own, (*copies, *more)
        kinds = (made[0], instance.params, key), (made[1], instance.states, jax.random.key(0))
        for tree, variables, own_key in kinds:
            for v in variables:
                _initial_of(program, emitted, instance, v, tree, folds, copies, own_key)


def _initial_of(program, emitted, instance, v: Variable, tree, folds, copies, key) -> None:
    path = join(instance.path, v.name)
    array = np.asarray(reduce(lambda node, part: node[part], path.split("."), tree))
    shape = (*copies, *(d.size.value for d in v.order))
    if array.shape != shape:
        raise Wrong(
            f"{path} begins with the shape {array.shape}, not {shape}", program, emitted.text
        )
    for at in np.ndindex(*copies):
        numbers = iter(at)
        own = tuple(next(numbers) if f == -1 else f for f in folds)
        wanted = initial(emitted.module, instance, v, reduce(jax.random.fold_in, own, key))
        if different := differ(array[at], wanted):
            raise Wrong(f"the first value of {path} {different}", program, emitted.text)


def initial(module: Module, instance: Instance, v: Variable, key: Any) -> Any:
    """What an initializer means."""
    variant = Variant((), v.init.ops, (Result("", v.init.results[0], v.order),))
    alone = Instance("", "Initial", dims=instance.dims, variants=(variant,))
    (found,), _, _ = evaluate(
        Module("initial", "model", None, (), (alone,)), {}, {}, [], train=True, random=from_key(key)
    )
    return found
