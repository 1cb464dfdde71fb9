"""What models hold and do: counted by hand, as published, and by XLA."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import click.testing
import pytest
from netwright import parameters
from netwright.backend.model import ModelWriter
from netwright.cli import main
from netwright.driver import compile_module
from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import loads
from netwright.ir.census import census
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.flops import flops
from netwright.ir.ops.common import TRANSCENDENTAL
from netwright.ir.plan import Decision, Plan
from netwright.passes.check import check
from programs import EXAMPLES, SMALL

LLAMA = (EXAMPLES / "shakespeare" / "model.nw").read_text()
UNTIED = LLAMA.replace(
    "    param embed: [V, D] = normal(0.02)\n",
    "    param embed: [V, D] = normal(0.02)\n    param head: [V, D] = normal(0.02)\n",
).replace("return dot[D](norm(x), embed)", "return dot[D](norm(x), head)")


def module_of(text, **settings):
    diagnostics = Diagnostics()
    file = loads(text, diagnostics)
    module = elaborate(file, diagnostics, None, settings) if file else None
    diagnostics.raise_errors()
    return check(module)


def rows_of(found):
    return {row.path: row for row in found.rows}


def test_a_repeat_of_layers_counted_by_hand():
    text = """
dims: B, D = 8, L = 3

layer Dense[D -> F](x: [..., D]) -> [..., F]:
    param w: [D, F] = normal()
    param b: [F] = zeros()
    state seen: [] = 0.0
    seen <- seen + 1
    return dot[D](x, w) + b

layer Block[D](x: [..., D]) -> [..., D]:
    dims: F = 4 * D
    use up = Dense[D -> F]
    use down = Dense[F -> D]
    return x + down(relu(up(x)))

model net(x: [B, D]) -> [B, D]:
    use stack = repeat[L] Block
    return stack(x)
"""
    found = census(module_of(text))
    rows = rows_of(found)
    assert found.parameters == 3 * (8 * 32 + 32 + 32 * 8 + 8)
    assert rows["stack.up.w"].elements == 3 * 8 * 32
    assert rows["stack.up.w"].bytes == 3 * 8 * 32 * 4
    assert [d.name for d in rows["stack.up.w"].copies] == ["L"]
    assert rows["stack"].repeats is not None and rows["stack.up"].repeats is None
    assert found.states == 3 * 2 and found.state_bytes == 4 * 3 * 2
    batch = found.rows[0].flops.products.evaluate({"B": 5})
    assert batch == 5 * 3 * 2 * (8 * 32 + 32 * 8)
    # and the rest: a bias each, relu, the residual, and the counting of the state
    whole = found.rows[0].flops.total.evaluate({"B": 5})
    assert whole - batch == 3 * (5 * (32 + 8 + 32 + 8) + 2)
    assert rows["stack.up"].flops.products.evaluate({"B": 1}) == 3 * 2 * 8 * 32


def test_loops_and_second_calls_are_counted_as_often_as_they_run():
    text = """
dims: B, T, D = 4, P = 4

layer Twice[D](x: [..., D]) -> [..., D]:
    dims: Do = D
    param w: [D, Do] = normal()
    return rename[Do -> D](dot[D](x, w))

model net(xs: [B, T, D]) -> [B, T, D]:
    param wh: [P, D] = normal()
    use twice = Twice
    ys = scan[T](x = twice(twice(xs))) carry (h = zeros[B, D]()):
        h = x + dot[P](rename[D -> P](h), wh)
        emit h
    return ys
"""
    found = census(module_of(text))
    sizes = {"B": 3, "T": 7}
    rows = rows_of(found)
    assert found.parameters == 32
    assert rows["twice"].flops.products.evaluate(sizes) == 2 * (2 * 3 * 7 * 4 * 4)
    assert rows[""].flops.products.evaluate(sizes) == 3 * (2 * 3 * 7 * 4 * 4)


@pytest.mark.parametrize(
    "text, sizes, published",
    [
        (LLAMA, {}, 820_352),
        (UNTIED, dict(V=32_000, L=32, D=4096, F=11_008, G=32, R=1, K=128), 6_738_415_616),
        (UNTIED, dict(V=128_256, L=32, D=4096, F=14_336, G=8, R=4, K=128), 8_030_261_248),
        (UNTIED, dict(V=128_256, L=126, D=16_384, F=53_248, G=8, R=16, K=128), 405_853_388_800),
    ],
    ids=["examples", "Llama-2-7B", "Llama-3-8B", "Llama-3.1-405B"],
)
def test_llamas_have_as_many_parameters_as_published(text, sizes, published):
    found = census(module_of(text, **sizes))
    assert found.parameters == published
    table = parameters.table(found)
    assert f"{published:,} parameters" in table
    assert len(table.splitlines()) < 30  # for any number of blocks
    assert max(map(len, table.splitlines())) <= 120
    # Each weight but the embedding is multiplied once a token, and scores and values are 4 S a head
    # and its width (Kaplan et al. 2020, table 1).
    size = {"V": 256, "L": 4, "D": 128, "F": 384, "G": 2, "R": 2, "K": 32} | sizes
    weights = published - size["D"] * (2 * size["L"] + 1)
    weights -= size["V"] * size["D"] if text is UNTIED else 0
    scores = 4 * size["L"] * size["G"] * size["R"] * size["K"]
    products = found.rows[0].flops.products
    assert products.evaluate({"B": 2, "S": 64}) == 2 * 64 * (2 * weights + 64 * scores)


def test_a_vision_transformer_multiplies_as_often_as_published():
    """torchvision gives 17.564 billion multiply-adds for its `vit_b_16` at 224 by 224."""
    found = census(module_of((EXAMPLES / "gallery" / "vit.nw").read_text(), B=1))
    assert round(found.rows[0].flops.products.value / 2e9, 3) == 17.564
    assert found.parameters == 86_567_656


def test_the_table_of_a_llama():
    table = parameters.table(census(module_of(UNTIED, L=126, S=128, B=1, G=8, R=16, K=128)))
    lines = table.splitlines()
    assert any(line.startswith("gpt.blocks × 126  ") for line in lines)
    assert any("gpt.blocks.attn.wq" in line and "126 × [D 128, G 8" in line for line in lines)
    assert "FLOPs / " not in table  # all sizes are known
    free = parameters.table(census(module_of(UNTIED)))
    assert "FLOPs / B·S" in free.splitlines()[0]
    pairs = (EXAMPLES / "gallery" / "bert.nw").read_text()
    assert "FLOPs for each B in" in (said := parameters.table(census(module_of(pairs))))
    assert "k S² + " in said


def test_json_says_the_same_exactly():
    found = census(module_of(UNTIED, L=126))
    said = json.loads(parameters.as_json(found))
    assert said["parameters"] == found.parameters.value
    assert said["flops"] == str(found.rows[0].flops.total)
    params = [row for row in said["rows"] if row["kind"] == "param"]
    assert (
        sum(math.prod((*r["copies"].values(), *r["shape"])) for r in params) == (said["parameters"])
    )
    assert sum(row["bytes"] for row in params) == said["bytes"]


def test_on_the_command_line():
    path = str(EXAMPLES / "digits")
    run = click.testing.CliRunner().invoke
    shown = run(main, ["show", path, "--parameters"])
    assert shown.exit_code == 0 and "112,106 parameters in 438 KiB" in shown.output
    assert "576 elements of state" in shown.output and "FLOPs / B" in shown.output
    bound = json.loads(run(main, ["show", path, "--json", "--set", "B=2"]).output)
    assert isinstance(bound["flops"], int) and bound["free"] == []


def test_on_a_terminal():
    from rich.console import Console

    table, below = parameters.rich_table(census(module_of(LLAMA)))
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    text = console.export_text()
    assert "gpt.blocks × 4" in text and "4 × [D 128, G 2, R 2, K 32]" in text
    assert below.startswith("820,352 parameters")


def written(module, plan):
    names = {}
    writer = ModelWriter(compile_module(module, plan), plan, "model.nw")
    exec(compile(writer.write(), "model.py", "exec"), names)
    return names


def dots(jaxpr):
    """What the products of a jaxpr do, loops counted as often as they run."""
    total = 0
    for eqn in jaxpr.eqns:
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        if eqn.primitive.name == "dot_general":
            (left, _), _ = eqn.params["dimension_numbers"]
            depth = math.prod(eqn.invars[0].aval.shape[i] for i in left)
            total += 2 * depth * eqn.outvars[0].aval.size
        for inner in eqn.params.values():
            if hasattr(inner, "jaxpr"):
                total += times * dots(inner.jaxpr)
    return total


def test_products_are_those_that_xla_counts_in_a_perceptron():
    import jax
    import jax.numpy as jnp

    text = """
dims: B, D = 8, F = 24, N = 3

model net(x: [B, D]) -> [B, N]:
    param a: [D, F] = normal()
    param b: [F, N] = normal()
    return dot[F](dot[D](x, a), b)
"""
    counted = jax.jit(lambda x, a, b: x @ a @ b).lower(
        jnp.ones((5, 8)), jnp.ones((8, 24)), jnp.ones((24, 3))
    )
    whole = flops(module_of(text, B=5))[""]
    assert whole.products == int(counted.cost_analysis()["flops"])
    assert whole.total == whole.products


def test_an_unrolled_transformer_does_what_xla_counts():
    import jax
    import jax.numpy as jnp

    module = module_of(LLAMA, **SMALL)
    sizes = {"B": 4, "S": 32}
    unroll = Plan(roll=(Decision("gpt.blocks", "unroll", ""),))
    names = written(module, replace(unroll, sizes=tuple((n, sizes[n]) for n in module.free)))
    params = jax.eval_shape(names["init_params"], jax.random.key(0))
    ids = jax.ShapeDtypeStruct((4, 32), jnp.int32)
    batch = {"tokens": ids, "targets": ids}

    def loss(params, batch):
        return names["loss"](params, {}, batch)[0]

    found = census(module).rows[0].flops
    assert found.products.evaluate(sizes) == dots(jax.make_jaxpr(loss)(params, batch).jaxpr)
    # XLA counts exp, log, sin and the like apart; the registry has each for ten.
    xla = jax.jit(loss).lower(params, batch).cost_analysis()
    whole = xla["flops"] + TRANSCENDENTAL * xla["transcendentals"]
    assert found.total.evaluate(sizes) == pytest.approx(whole, rel=0.03)
