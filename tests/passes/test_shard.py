"""Placement by rules, what the verifier says of those that cannot hold, constraints in modules."""

from __future__ import annotations

import pytest
from netwright.backend.model import ModelWriter
from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import load
from netwright.ir.core import Module
from netwright.ir.diagnostics import Diagnostics, InputError, Span
from netwright.ir.placement import spread, stack, value_placement, variable_spec, verify
from netwright.ir.plan import Decision, Mesh, Plan
from netwright.ir.text import parse, show
from netwright.passes.layout import Layout, lay_out
from netwright.passes.manager import Pipeline
from netwright.passes.shard import Shard

TEXT = """
dims:
    B, S
    V = 16, D = 8, F = 24, L = 3

layer Mlp[D, F](x: [..., D]) -> [..., D]:
    param up: [D, F] = normal(0.02)
    param down: [F, D] = normal(0.02)
    h = dot[D](x, up)
    return dot[F](silu(h), down)

layer Block[D](x: [..., D]) -> [..., D]:
    use mlp = Mlp
    return x + mlp(x)

model LM(tokens: int[B, S]) -> [B, S, V]:
    param embed: [V, D] = normal(0.02)
    use blocks = repeat[L] Block
    x = blocks(take[V](embed, tokens))
    return dot[D](x, embed)

loss next_token(tokens: int[B, S], targets: int[B, S]):
    use lm = LM
    return mean[B, S](cross_entropy[V](lm(tokens), targets))
"""
SIZES = (("B", 16), ("S", 4))
EIGHT = (("data", 8),)
BOTH = (("data", 2), ("model", 4))


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> Module:
    path = tmp_path_factory.mktemp("shard") / "model.nw"
    path.write_text(TEXT)
    diagnostics = Diagnostics()
    made = elaborate(load(path, diagnostics), diagnostics)
    diagnostics.raise_errors()
    return made


def rules(**table: str) -> tuple:
    """Rules from names of axes with spaces between."""
    return tuple((dim, tuple(axes.split())) for dim, axes in table.items())


def plan(axes=EIGHT, values=None, params=None, **more) -> Plan:
    overrides = more.pop("overrides", ())
    mesh = Mesh(axes, rules(**(values or {})), rules(**(params or {})), overrides)
    return Plan(sizes=SIZES, mesh=mesh, **more)


def variable(module: Module, path: str, name: str):
    instance = module.instance(path)
    return instance, next(p for p in instance.params if p.name == name)


def run(module: Module, chosen: Plan) -> Module:
    return Pipeline([Shard(), Layout()]).run(module, chosen)


def constraints(module: Module, path: str) -> list[tuple]:
    """The specs of an instance's constraints, in order."""
    (variant,) = module.instance(path).variants
    return [op["spec"] for op in variant.ops if op.name == "constrain"]


# Specs


def test_parameters_are_stacked_along_their_repeats_first(module):
    instance, up = variable(module, "lm.blocks.mlp", "up")
    assert [d.name for d in stack(module, instance.path)] == ["L"]
    chosen = plan(BOTH, params={"D": "data", "F": "model"})
    assert variable_spec(module, chosen, instance, up) == ((), ("data",), ("model",))


def test_axes_that_follow_are_left_out(module):
    instance, down = variable(module, "lm.blocks.mlp", "down")
    chosen = plan(BOTH, params={"F": "data model"})
    assert variable_spec(module, chosen, instance, down) == ((), ("data", "model"))
    assert variable_spec(module, plan(BOTH), instance, down) == ()


def test_the_nearest_override_replaces_the_rules_of_the_mesh(module):
    instance, up = variable(module, "lm.blocks.mlp", "up")
    near = Decision("lm.blocks.mlp.up", rules(F="data"))
    far = Decision("lm.blocks", rules(D="data"))
    for decisions, spec in (
        ((far,), ((), ("data",))),
        ((far, near), ((), (), ("data",))),
        ((Decision("lm.blocks.mlp", ()), far), ()),
    ):
        chosen = plan(params={"D": "data", "F": "data"}, overrides=decisions)
        assert variable_spec(module, chosen, instance, up) == spec


def test_only_the_first_of_collapsed_dims_may_be_spread(module):
    (tokens,) = (v for v in module.instances[0].variants[0].inputs if v.label == "tokens")
    placed = value_placement(plan(values={"B": "data"}), "", tokens)
    b, s = (axis[0] for axis in tokens.order)
    assert spread(((b, s),), placed) == (("data",),)
    assert spread(((), (b,)), placed) == ((), ("data",))
    with pytest.raises(ValueError, match="collapsed"):
        spread(((s, b),), placed)


# The pass


def test_without_a_mesh_nothing_happens(module):
    assert Shard().run(module, Plan(sizes=SIZES)) is module


def test_products_and_lookups_are_constrained(module):
    done = run(module, plan(values={"B": "data"}, params={"D": "data"}))
    assert constraints(done, "lm") == [(("data",),), (("data",),)]
    assert constraints(done, "lm.blocks.mlp") == [(("data",),), (("data",),)]
    assert constraints(done, "lm.blocks") == constraints(done, "") == []
    assert parse(show(done)) == done


def test_the_label_goes_to_the_constrained_value(module):
    done = Shard().run(module, plan(values={"B": "data"}))
    (variant,) = done.instance("lm.blocks.mlp").variants
    assert next(r.label for op in variant.ops if op.name == "constrain" for r in op.results) == "h"
    assert not any(r.label for op in variant.ops if op.name == "dot" for r in op.results)


def test_tensor_parallel(module):
    both = {"B": "data", "F": "model", "V": "model"}
    done = run(module, plan(BOTH, values=both, params={"F": "model", "V": "model"}))
    assert constraints(done, "lm.blocks.mlp") == [(("data",), ("model",)), (("data",),)]
    assert constraints(done, "lm") == [(("data",),), (("data",), ("model",))]


def test_a_dim_that_is_spread_behind_another_is_not_collapsed(module):
    done = run(module, plan((("data", 2), ("seq", 4)), values={"B": "data", "S": "seq"}))
    assert constraints(done, "lm.blocks.mlp") == [(("data",), ("seq",))] * 2
    assert not any(op.name == "collapse" for _, _, op in done.walk())
    # S alone: B is in front of it, on its own.
    done = run(module, plan((("seq", 4),), values={"S": "seq"}))
    assert constraints(done, "lm.blocks.mlp") == [((), ("seq",))] * 2
    # Without a mesh they are one axis.
    assert any(op.name == "collapse" for _, _, op in lay_out(module).walk())


def test_a_decision_about_one_value_replaces_the_rules(module):
    decided = (
        Decision("lm.blocks.mlp/h", rules(F="data")),
        Decision("/tokens", rules(S="data")),
    )
    done = run(module, plan((("data", 4),), values={"B": "data"}, shard=decided))
    assert constraints(done, "lm.blocks.mlp") == [((), ("data",)), (("data",),)]
    source = ModelWriter(
        done, plan((("data", 4),), values={"B": "data"}, shard=decided), "m"
    ).write()
    assert 'BATCH_SPECS = {"tokens": P(None, "data"), "targets": P("data")}' in source


def test_what_is_emitted(module):
    chosen = plan(BOTH, {"B": "data", "F": "model"}, {"D": "data", "F": "model"})
    source = ModelWriter(run(module, chosen), chosen, "model.nw").write()
    for line in (
        '"embed": P(None, "data"),',
        '"up": P(None, "data", "model")',
        '"down": P(None, "model", "data")',
        "STATE_SPECS = {}",
        'BATCH_SPECS = {"tokens": P("data"), "targets": P("data")}',
        'lax.with_sharding_constraint(x.reshape(-1, D) @ params["up"], P("data", "model"))',
    ):
        assert line in source
    compile(source, "model.py", "exec")
    plain = ModelWriter(run(module, Plan(sizes=SIZES)), Plan(sizes=SIZES), "model.nw").write()
    assert "SPECS" not in plain and "sharding" not in plain


# Rules that cannot hold


def codes(module: Module, chosen: Plan) -> list[str]:
    return [d.code for d in verify(module, chosen)]


def test_rules_that_hold(module):
    assert codes(module, plan(values={"B": "data"}, params={"D": "data"})) == []
    assert codes(module, Plan(mesh=Mesh((), rules(Nothing="nowhere")))) == []


def test_an_axis_that_the_mesh_has_not(module):
    (found,) = verify(module, plan(values={"B": "date"}))
    assert found.code == "mesh-axis-unknown"
    assert found.message == "mesh.values puts B along date, which is no axis of the mesh"
    assert found.facts == ("the mesh has data = 8",)
    assert found.help == "did you mean data?"


def test_a_rule_for_a_dim_that_nothing_has(module):
    (found,) = verify(module, plan(params={"B": "data"}))
    assert found.code == "mesh-rule-unused"
    assert "mesh.params has a rule for B, and no parameter or state has" in found.message
    near = verify(module, plan(overrides=(Decision("lm.blocks", rules(V="data")),)))
    assert [d.code for d in near] == ["mesh-rule-unused"]
    assert near[0].message.startswith("mesh.overrides.lm.blocks has a rule for V")


def test_a_dim_that_does_not_divide(module):
    (found,) = verify(module, plan(BOTH, values={"B": "data"}, params={"L": "model"}))
    assert found.code == "mesh-does-not-divide"
    assert found.message == "L is 3, which does not divide evenly over the 4 parts of model"
    assert "mesh.params puts L along model" in found.facts
    assert found.help.startswith("make L a multiple of 4, give model the size 1")
    assert found.span is not None and found.span.line == 7  # `param up`, the first that has L


def test_free_sizes_are_judged_where_they_are_bound(module):
    chosen = plan((("data", 3),), values={"B": "data"})
    (found,) = verify(module, chosen)
    assert found.message.startswith("B is 16,")
    assert verify(module, Plan(mesh=chosen.mesh)) == ()


def test_an_axis_twice_on_one_array(module):
    (found,) = verify(module, plan(params={"D": "data", "F": "data"}))
    assert found.code == "mesh-axis-twice"
    assert found.message == "lm.blocks.mlp.up: [L, D, F] would lie along data twice, for D and F"
    assert found.facts[:2] == (
        "mesh.params puts D along data",
        "mesh.params puts F along data",
    )
    twice = verify(module, plan((("data", 4),), values={"B": "data data"}))
    assert "mesh-axis-twice" in [d.code for d in twice]


def test_every_mistake_is_told_once(module):
    chosen = plan(BOTH, {"B": "data", "S": "data", "Z": "data"}, {"D": "mode", "L": "model"})
    assert sorted(codes(module, chosen)) == [
        "mesh-axis-twice",
        "mesh-axis-unknown",
        "mesh-does-not-divide",
        "mesh-rule-unused",
    ]


def test_the_rule_in_the_recipe_is_pointed_at(module):
    span = Span("recipe.toml", 9, 1, 9, 4)
    chosen = plan(BOTH, params={"L": "model"})
    (found,) = verify(module, chosen, {"mesh.params.L": span})
    assert found.span == span
    (place,) = found.places
    assert place.span.line == 7 and place.caption == "lm.blocks.mlp.up has L = 3"
    (found,) = verify(module, chosen, {"mesh.params": span})
    assert found.span == span


def test_the_pass_refuses(module):
    with pytest.raises(InputError) as caught:
        Pipeline([Shard()]).run(module, plan(values={"B": "date"}))
    assert caught.value.diagnostics[0].code == "mesh-axis-unknown"


# Copies side by side, arguments of instances

EXPERTS = """
dims: B = 8, D = 8, F = 4, E = 4

layer Expert[D, F](x: [..., D]) -> [..., F]:
    param up: [D, F] = normal(0.02)
    return dot[D](x, up)

model M(x: [B, D]) -> [E, B, F]:
    use experts = each[E] Expert
    return experts(x)
"""


@pytest.fixture(scope="module")
def experts(tmp_path_factory) -> Module:
    path = tmp_path_factory.mktemp("experts") / "model.nw"
    path.write_text(EXPERTS)
    diagnostics = Diagnostics()
    made = elaborate(load(path, diagnostics), diagnostics)
    diagnostics.raise_errors()
    return made


def test_copies_side_by_side_lie_along_their_axis(experts):
    chosen = plan(BOTH, values={"B": "data", "E": "model"})
    done = run(experts, chosen)
    assert 'spmd_axis_name="model"' in ModelWriter(done, chosen, "model.nw").write()
    assert parse(show(done)) == done
    assert "spmd" not in ModelWriter(run(experts, plan()), plan(), "model.nw").write()


def test_what_is_inside_of_copies_cannot_lie_along_their_axis(experts):
    found = verify(experts, plan(BOTH, values={"F": "model", "E": "model"}))
    assert "mesh-axis-twice" in [d.code for d in found]


def test_an_argument_of_an_instance_is_constrained_where_the_plan_says_so(experts):
    decision = Decision("experts/x", rules(D="model"))
    done = run(experts, plan(BOTH, values={"B": "data"}, shard=(decision,)))
    assert constraints(done, "experts") == [((), ("model",)), (("data",),)]
