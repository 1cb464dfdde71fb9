"""Precision: what each policy does to ops, to programs and their numbers, and what paths change."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from netwright.backend.model import ModelWriter
from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import load
from netwright.ir.core import (
    Child,
    Dim,
    Instance,
    Module,
    Op,
    Result,
    Value,
    Variant,
    attributes,
    axes,
    walk,
)
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.evaluate import evaluate
from netwright.ir.facts import known_values
from netwright.ir.plan import Decision, Plan
from netwright.ir.plan import Precision as PrecisionPlan
from netwright.ir.registry import lookup, names
from netwright.ir.text import parse, show, show_instance
from netwright.ir.verify import verify
from netwright.passes.layout import Layout
from netwright.passes.manager import Pipeline
from netwright.passes.precision import Precision
from netwright.passes.precision_policy import holds
from netwright.passes.simplify import Simplify

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
POLICIES = ("float32", "bfloat16", "float16", "float64")
SMALL = {
    "shakespeare": {"V": 32, "L": 2, "D": 16, "F": 24, "G": 1, "R": 2, "K": 8, "drop": 0},
    "digits": {"Y": 4, "X": 4, "Y2": 2, "X2": 2, "W": 4, "W2": 6},
    "pronounce": {"E": 6, "H": 8},
    "mlp": {},
}


@lru_cache
def example(name: str) -> Module:
    """An example at small sizes, elaborated and simplified."""
    return simplified(ROOT / "examples" / name / "model.nw", SMALL[name])


def simplified(path: Path, sizes: dict[str, float] | None = None) -> Module:
    diagnostics = Diagnostics()
    file = load(path, diagnostics)
    module = elaborate(file, diagnostics, None, dict(sizes or {}))
    diagnostics.raise_errors()
    return Pipeline([Simplify()]).run(module, Plan())


def written(tmp_path: Path, text: str) -> Module:
    """A model given as text, elaborated and simplified."""
    path = tmp_path / "model.nw"
    path.write_text(text)
    return simplified(path)


def planned(policy: str, **overrides: str) -> Plan:
    decisions = tuple(Decision(key, choice) for key, choice in overrides.items())
    return Plan(precision=PrecisionPlan(policy, decisions))


def precise(module: Module, policy: str, **overrides: str) -> Module:
    """The module after the pass, which the pipeline verifies."""
    return Pipeline([Precision()]).run(module, planned(policy, **overrides))


def source(module: Module, policy: str, **overrides: str) -> str:
    """The emitted `model.py`."""
    plan = planned(policy, **overrides)
    done = Pipeline([Precision(), Layout()]).run(module, plan)
    return ModelWriter(done, plan, "model.nw").write()


def program(module: Module, policy: str, **overrides: str) -> dict:
    """The names that the emitted program defines."""
    names: dict = {}
    exec(compile(source(module, policy, **overrides), "model.py", "exec"), names)
    return names


def batch(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    if name == "shakespeare":
        tokens = rng.integers(0, 32, (3, 13))
        return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]}
    if name == "pronounce":
        live = np.arange(7) < np.array([[7], [3], [5]])
        return {
            "source": rng.integers(1, 27, (3, 7)),
            "source_live": live,
            "target_in": rng.integers(1, 72, (3, 7)),
            "target_out": rng.integers(1, 72, (3, 7)),
            "target_live": live,
        }
    (image, label) = example(name).instances[0].variants[0].inputs
    shape = [d.size.value if d.size.is_constant else 6 for a in image.order for d in a]
    images = rng.normal(size=shape).astype(np.float32)
    return {image.label: images, label.label: rng.integers(0, 10, 6)}


def subjaxprs(jaxpr):
    """All equations of a jaxpr, inner ones included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for item in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(item, "jaxpr"):
                    yield from subjaxprs(item.jaxpr)
                elif hasattr(item, "eqns"):
                    yield from subjaxprs(item)


def equations(names: dict, given: dict, train: bool = True) -> list:
    """The equations of the emitted loss."""
    params = names["init_params"](jax.random.key(0))
    state = names["init_state"]()
    jaxpr = jax.make_jaxpr(lambda p, b: names["loss"](p, state, b, jax.random.key(1), train)[0])
    return list(subjaxprs(jaxpr(params, given).jaxpr))


# Policies on whole modules


@pytest.mark.parametrize("name", SMALL)
def test_float32_casts_nothing(name):
    module = example(name)
    before = Counter(op.name for _, _, op in module.walk())
    done = precise(module, "float32")
    assert Counter(op.name for _, _, op in done.walk()) == before
    assert not any(op.get("accumulate") for _, _, op in done.walk())
    text = source(module, "float32")
    for word in ("bfloat16", "float16", "preferred_element_type", "astype(jnp.float"):
        assert word not in text


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", SMALL)
def test_nothing_abstract_is_left_and_declarations_are_wide(name, policy):
    done = precise(example(name), policy)
    wide = "float64" if policy == "float64" else "float32"
    assert "precise" in done.facts
    for instance in done.instances:
        for variable in (*instance.params, *instance.states):
            assert variable.type.dtype == wide
    entry = done.instances[0].variants[0]
    known = known_values(entry.inputs, entry.ops)
    assert {v.type.dtype for v in entry.inputs} <= {"int32", "bool", wide}
    assert known[entry.results[0].value].type.dtype == wide
    model = done.instance(done.model).variants[0]
    known = known_values(model.inputs, model.ops)
    assert known[model.results[0].value].type.dtype == wide
    assert parse(show(done)) == done


@pytest.mark.parametrize("policy", POLICIES)
def test_every_kind_of_structure(policy):
    sys.path.insert(0, str(HERE.parent / "ir"))
    module = importlib.import_module("sample_module").MODULE
    done = precise(module, policy)
    assert precise(done, policy) == done, "a second time it changes nothing"


def trees(module: Module, rng) -> tuple[dict, dict]:
    """Parameters and states by path, of random numbers; free sizes are 2."""
    made: tuple[dict, dict] = ({}, {})
    copies: dict[str, tuple[int, ...]] = {"": ()}
    for instance in module.instances:
        lead = copies[instance.path]
        for child in instance.children:
            path = f"{instance.path}.{child.name}".lstrip(".")
            copies[path] = lead + ((child.along.size.value,) if child.along else ())
        for tree, variables in zip(made, (instance.params, instance.states), strict=True):
            node = tree
            for part in filter(None, instance.path.split(".")):
                node = node.setdefault(part, {})
            for v in variables:
                shape = (*lead, *(d.size.value for d in v.order))
                values = rng.normal(size=shape)
                node[v.name] = 0.3 * values if tree is made[0] else np.abs(values) + 0.5
    return made


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", ["shakespeare", "digits", "mlp"])
def test_the_meaning_stays(name, train):
    module = example(name)
    rng = np.random.default_rng(1)
    params, state = trees(module, rng)
    given = [batch(name)[v.label] for v in module.instances[0].variants[0].inputs]

    def run(module):
        found = evaluate(
            module, params, state, given, train=train, random=lambda draw: draw.args[0]
        )  # a dropout that keeps all
        return jax.tree.leaves(found)

    wanted = run(module)
    for policy, tolerance in {
        "float64": 0,
        "float32": 0,
        "float16": 4e-3,
        "bfloat16": 3e-2,
    }.items():
        for a, b in zip(run(precise(module, policy)), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=policy)


# Emitted programs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *(pytest.param(name, "bfloat16", marks=pytest.mark.slow) for name in SMALL),
        ("shakespeare", "float16"),
    ],
)
def test_numbers_are_close_and_gradients_finite(name, policy):
    module, given, key = example(name), batch(name), jax.random.key(2)
    full, low = program(module, "float32"), program(module, policy)
    params, state = full["init_params"](key), full["init_state"]()
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, low["init_params"](key))), (
        "precision changes no first value"
    )

    def run(names):
        def loss(params):
            value, (new, metrics) = names["loss"](params, state, given, key, True)
            return value, (new, metrics)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    (wanted, (state_32, _)), grads_32 = run(full)
    (found, (state_low, metrics)), grads = run(low)
    assert abs(found - wanted) <= 2e-2 * abs(wanted)
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(g)]) for g in (grads, grads_32))
    assert a @ b >= 0.98 * np.linalg.norm(a) * np.linalg.norm(b), "they point the same way"
    assert abs(np.linalg.norm(a) / np.linalg.norm(b) - 1) <= 0.1
    for leaf in jax.tree.leaves((state_low, metrics)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    for a, b in zip(jax.tree.leaves(state_low), jax.tree.leaves(state_32), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-2)
    predicted = low["predict"](params, state, given)
    assert predicted.dtype == jnp.float32, "what is predicted is not rounded"


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_dtypes_in_the_jaxpr(policy):
    found = equations(program(example("shakespeare"), policy), batch("shakespeare"))
    dots = [e for e in found if e.primitive.name == "dot_general"]
    assert len(dots) == 10
    for eqn in dots:
        assert [v.aval.dtype.name for v in eqn.invars] == [policy] * 2
        assert eqn.params["preferred_element_type"] == jnp.float32
        assert eqn.outvars[0].aval.dtype == jnp.float32
    sums = {"reduce_sum", "reduce_max", "exp", "log", "rsqrt", "integer_pow", "cumsum"}
    seen = {e.primitive.name for e in found}
    assert {"reduce_sum", "exp", "log", "rsqrt"} <= seen
    for eqn in found:
        if eqn.primitive.name in sums:
            assert all(v.aval.dtype.name != policy for v in eqn.invars), eqn
    (loop,) = (e for e in found if e.primitive.name == "scan")
    carried = loop.outvars[0].aval
    assert carried.dtype.name == policy, "the residual stream is low"


def test_state_and_carries_stay_wide():
    found = equations(program(example("pronounce"), "bfloat16"), batch("pronounce"))
    loops = [e for e in found if e.primitive.name == "scan"]
    assert len(loops) == 3
    for loop in loops:
        carry = loop.outvars[: loop.params["num_carry"]]
        assert [v.aval.dtype.name for v in carry] == ["float32"] * 2
        assert loop.outvars[-1].aval.dtype == jnp.bfloat16, "what is emitted is low"
    norm = precise(example("digits"), "bfloat16").instance("net.stem.norm")
    (variant,) = norm.variants
    known = known_values(variant.inputs, variant.ops)
    assert {s.type.dtype for s in norm.states} == {"float32"}
    for name, id in variant.writes:
        assert known[id].type.dtype == "float32", name
    assert variant.inputs[0].type.dtype == known[variant.results[0].value].type.dtype == "bfloat16"


def test_a_parameter_read_in_a_loop_is_cast_inside():
    """So that its gradient is summed over the steps in float32."""
    (variant,) = precise(example("pronounce"), "bfloat16").instance("speller.forward").variants
    (loop,) = (op for op in variant.ops if op.name == "scan")
    inside = {r.id for op in loop.regions[0].ops for r in op.results}
    (dot,) = (op for op in loop.regions[0].ops if op.name == "dot")
    assert set(dot.operands) <= inside


# Overrides


def ops_of(instance: Instance) -> list[tuple]:
    """What an instance computes: its ops but for casts, with the dtypes of what they give."""
    return [
        (op.name, op.get("accumulate"), tuple(r.type.dtype for r in op.results))
        for variant in instance.variants
        for op in walk(variant.ops)
        if op.name not in ("cast", "call", "repeat", "each")
    ]


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_per_path_precision(policy):
    """An override of one instance changes the ops of that instance, and no other's: in the IR, and
    in the products of the jaxpr."""
    module, path = example("shakespeare"), "gpt.blocks.attn"
    plain = precise(module, policy)
    done = precise(module, policy, **{path: "float32"})
    for before, after in zip(plain.instances, done.instances, strict=True):
        if after.path == path:
            assert ops_of(after) != ops_of(before)
        else:
            assert ops_of(after) == ops_of(before), after.path
            if after.path != "gpt.blocks":  # which casts what it hands to attn and gets from it
                assert after == before, after.path
    full = precise(module, "float32").instance(path)
    assert show_instance(done.instance(path)) == show_instance(full)
    assert precise(module, "float32", **{path: policy}).instance(path) == plain.instance(path)

    def dots(**overrides):
        found = equations(program(module, policy, **overrides), batch("shakespeare"))
        eqns = (e for e in found if e.primitive.name == "dot_general")
        return Counter(e.invars[0].aval.dtype.name for e in eqns)

    assert dots() == {policy: 10}
    assert dots(**{path: "float32"}) == {"float32": 6, policy: 4}
    assert dots(**{"gpt": "float32"}) == {"float32": 10}
    nested = {"gpt": "float32", "gpt.blocks.mlp": policy}
    assert dots(**nested) == {"float32": 7, policy: 3}, "the nearest one holds"


def test_a_value_by_its_label():
    module = example("shakespeare")
    done = precise(module, "bfloat16", **{"gpt.blocks.attn/scores:dot": "float32"})
    (variant,) = done.instance("gpt.blocks.attn").variants
    dot = next(op for op in variant.ops if op.results[0].label == "scores:dot")
    known = known_values(variant.inputs, variant.ops)
    assert [known[i].type.dtype for i in dot.operands] == ["float32"] * 2
    assert dot.get("accumulate") is None
    others = [op for op in variant.ops if op.name == "dot" and op != dot]
    assert {op.get("accumulate") for op in others} == {"float32"}

    done = precise(module, "float32", **{"gpt.blocks.attn/weights": "bfloat16"})
    (variant,) = done.instance("gpt.blocks.attn").variants
    known = {v.label: v.type.dtype for v in known_values(variant.inputs, variant.ops).values()}
    assert known["weights"] == "bfloat16"
    assert [i.path for i in done.instances if "bfloat16" in str(show_instance(i))] == [
        "gpt.blocks.attn"
    ]

    done = precise(module, "bfloat16", **{"gpt.blocks/x": "float32"})
    (variant,) = done.instance("gpt.blocks").variants
    known = known_values(variant.inputs, variant.ops)
    assert known[variant.results[0].value].type.dtype == "float32", "what is carried is one dtype"

    done = precise(example("pronounce"), "bfloat16", **{"speller.forward/h.step": "bfloat16"})
    (variant,) = done.instance("speller.forward").variants
    (loop,) = (op for op in variant.ops if op.name == "scan")
    assert [r.type.dtype for r in loop.results[:2]] == ["bfloat16", "float32"]


# Rules, one by one

RULES = """
dims:
    B, D = 4, E = 4

layer Rules[D, E](x: [..., D], n: int[...], gain: []) -> y: [..., E], \
a: [..., E], b: [..., E], c: [..., E], d: [..., D], e: [..., E], f: [...], size: []:
    param w: [D, E] = normal(1)
    param b: [E] = zeros()
    product = dot[D](x, w)
    low = tanh(product)
    biased = dot[D](x, w * 2) + b
    active = relu(biased)
    counted = active / n
    gained = active * gain
    noisy = active + normal[E]()
    tiny = x + 1e-40
    scaled = dot[D](silu(x), w) * 0.5
    soft = softmax[E](scaled)
    long = sum[E](active)
    short = max[E](active)
    return low, counted, gained, noisy, tiny, soft, short, mean[...](long)

model M(x: [B, D], n: int[B]) -> [B, E]:
    use rules = Rules
    y, _, _, _, _, _, _, size = rules(x, n, 2.0)
    return y * size
"""


def labelled(instance: Instance) -> dict[str, tuple[list[str], str]]:
    """For each labelled value that an op gives: the dtypes of its operands, and its own."""
    (variant,) = instance.variants
    known = known_values(variant.inputs, variant.ops)
    found = {}
    for op in walk(variant.ops):
        for value in op.results:
            made = op
            if not value.label:
                continue
            while made.name == "cast":
                made = next(o for o in variant.ops if o.results[0].id == made.operands[0])
            given = [known[i].type.dtype for i in made.operands]
            found[value.label] = (given, value.type.dtype)
    return found


def test_rules(tmp_path):
    low, wide = "bfloat16", "float32"
    done = precise(written(tmp_path, RULES), low)
    rules = done.instance("rules")
    found = labelled(rules)
    assert found["product"] == ([low, low], low)
    assert found["low"] == ([low], low)
    assert found["biased"] == ([wide, wide], wide), "nobody reads it rounded"
    assert found["active"] == ([wide], low), "it takes what is at hand; somebody reads it rounded"
    assert found["counted"] == ([wide, "int32"], low), "a narrow float does not hold an int"
    assert found["gained"] == ([wide, wide], low), "a scalar does not widen what it meets"
    assert found["noisy"] == ([low, low], low), "what is drawn has the dtype of the rest"
    assert found["tiny"] == ([wide, wide], wide), "bfloat16 does not hold the number"
    assert found["scaled"] == ([wide, wide], wide), "it is not rounded before softmax reads it"
    assert found["soft"] == ([wide], wide)
    assert found["long"] == ([wide], wide)
    assert found["short"] == ([low], low)
    (variant,) = rules.variants
    assert [v.type.dtype for v in variant.inputs] == [low, "int32", wide]
    known = known_values(variant.inputs, variant.ops)
    assert [known[r.value].type.dtype for r in variant.results] == [low] * 7 + [wide]


def test_numbers_that_a_dtype_does_not_hold():
    assert holds("bfloat16", 1e-30) and holds("bfloat16", 1e38) and holds("float16", 6e4)
    assert not holds("float16", 1e-6) and not holds("float16", 1e5)
    assert all(holds("float16", v) for v in (0.0, float("inf"), -float("inf"), float("nan")))
    assert holds("float32", 1e-300)


# Every op


def cases() -> tuple:
    """The tools for cases of ops, and all cases."""
    sys.path.insert(0, str(HERE.parent / "ir"))
    for file in sorted((HERE.parent / "ir").glob("test_ops_*.py")):
        importlib.import_module(file.stem)
    tools = importlib.import_module("op_cases")
    return tools, tools.CASES


def dims_in(value: object):
    """The dims that attributes name."""
    if isinstance(value, Dim):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from dims_in(item)


def single(case) -> Module:
    """A module whose entry calls an instance that is one op of one case."""
    types = case.types()
    inputs = tuple(
        Value(i, t, f"x{i}", axes(o.dims))
        for i, (t, o) in enumerate(zip(types, case.operands, strict=True))
    )
    op = case.make(types)
    found = {d for v in (*inputs, *op.results) for d in v.type.dims} | {*dims_in(op.attrs)}
    dims = tuple(sorted(found, key=lambda d: d.id))
    results = tuple(Result(f"r{i}", r.id, r.type.dims) for i, r in enumerate(op.results))
    attrs = attributes(binding=tuple((d.id, d) for d in dims), child="op", occurrence=0, variant=0)
    outside = tuple(replace(r, order=axes(r.type.dims)) for r in op.results)
    call = Op("call", tuple(v.id for v in inputs), outside, attrs)
    child = Instance("op", "Op", dims=dims, variants=(Variant(inputs, (op,), results),))
    outer = Variant(inputs, (call,), results)
    entry = Instance("", "M", dims=dims, children=(Child("op"),), variants=(outer,))
    return Module("m", "model", None, (), (entry, child))


def test_every_op_gives_what_is_stated():
    """The pass leaves what the verifier accepts, classes are kept, and JAX gives those dtypes."""
    seen = set()
    tools, every = cases()
    for case in every:
        module = single(case)
        if verify(module):  # a case of concrete dtypes
            continue
        policy = "bfloat16"
        (variant,) = precise(module, policy).instance("op").variants
        (op,) = (o for o in variant.ops if o.name == case.op)
        known = known_values(variant.inputs, variant.ops)
        types = tuple(known[i].type for i in op.operands)
        floats = {t.dtype for t in types if t.kind == "float"}
        if lookup(case.op).precision == "wide":
            assert policy not in floats, f"{case}: {floats}"
        seen.add(case.op)
        if all(o.literal is not None for o in case.operands):
            continue
        low = tools.Case(case.op, *case.operands, **dict(op.attrs))
        emitted = tools.Emitted(low, types, case.orders())
        arrays = emitted.arranged(case.arrays(), case.orders())
        given = [
            jax.ShapeDtypeStruct(a.shape, "int32" if t.kind == "int" else t.dtype)
            for a, t in zip(arrays, types, strict=True)
        ]
        for stated, array in zip(op.results, jax.eval_shape(emitted, *given), strict=True):
            assert str(array.dtype) == stated.type.dtype, f"{case}: {emitted.text}"
    left = {n for n in names() if lookup(n).family not in ("structure", "layout")} - seen
    assert not left, left


# Golden


LAYER = '''
dims:
    B, S
    D = 8, K = 4

layer Attend[S, D, K](x: [..., S, D]) -> [..., S, D]:
    """One head, with a norm and a bias."""
    param scale: [D] = ones()
    param wq: [D, K] = lecun_normal[D]()
    param wv: [D, K] = lecun_normal[D]()
    param wo: [K, D] = lecun_normal[K]()
    param bias: [D] = zeros()
    x = x * rsqrt(mean[D](x ** 2) + 1e-6) * scale
    q = dot[D](x, wq)
    v = rename[S -> T](dot[D](x, wv))
    weights = softmax[T](dot[K](q, rename[S -> T](q)) / sqrt(K), where = offset[S, T]() >= 0)
    return silu(dot[K](dot[T](weights, v), wo) + bias)

model Tiny(x: [B, S, D]) -> [B, S, D]:
    use attend = Attend
    return x + attend(x)
'''


@pytest.mark.parametrize("policy", ["abstract", "float32", "bfloat16"])
def test_golden(policy, tmp_path, update_golden):
    module = written(tmp_path, LAYER)
    done = module if policy == "abstract" else precise(module, policy)
    text = "\n".join(line for i in done.instances for line in (*show_instance(i, places=False), ""))
    golden = HERE / "golden_precision" / f"{policy}.txt"
    if update_golden:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


# The page


def table() -> str:
    """The table of classes for the page, from the registry."""
    lines = ["| class | ops |", "|---|---|"]
    for precision in ("product", "wide", "follow"):
        found = [
            n
            for n in names()
            if lookup(n).precision == precision
            and lookup(n).family not in ("structure", "layout", "initializer")
        ]
        lines.append(f"| `{precision}` | {', '.join(found)} |")
    return "\n".join(lines)


def test_the_page_has_the_classes_of_the_registry(update_golden):
    page = ROOT / "docs" / "precision.md"
    text = page.read_text(encoding="utf-8")
    start, end = "<!-- classes -->\n", "\n<!-- end of classes -->"
    before, rest = text.split(start)
    _, after = rest.split(end)
    wanted = before + start + table() + end + after
    if update_golden:
        page.write_text(wanted, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == wanted
