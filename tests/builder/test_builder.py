"""What Python adds to the notation: functions, loops, closures, options that are Python's own."""

from __future__ import annotations

import re
from pathlib import Path

import netwright as nw
import pytest
from click.testing import CliRunner
from netwright.cli import main
from netwright.ir.text import show
from trials_text import labels, module_of_text
from twins import difference, module_at

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

B, S, T, C, Co = nw.dims("B S T C Co")
D, H, L = nw.dims(D=4, H=6, L=3)
drop = nw.const(drop=0.1)

GLOSSARY = "dims: B, S\ndims: D = 4, H = 6, L = 3\nconst: drop = 0.1\n"
LINEAR = """
layer Linear[C -> Co](x: [..., C]) -> [..., Co]:
    param w: [C, Co] = lecun_normal[C]()
    return dot[C](x, w)
"""


def made(function, **settings):
    """The module of a model."""
    return nw.load(nw.model(function), **settings).module


def same(function, text: str) -> None:
    """Demand that a function makes what a text does."""
    assert difference(module_of_text(GLOSSARY + text), made(function)) == ""


@nw.layer[C >> Co]
def Linear(x: nw.f[..., C]) -> nw.f[..., Co]:
    w = nw.param("w", [C, Co], nw.lecun_normal[C]())
    return nw.dot[C](x, w)


def test_loops_make_instances_named_by_the_list_that_holds_them():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        blocks = [nw.use(Linear[D >> D]) for _ in range(3)]
        for block in blocks:
            x = x + block(x)
        return x

    same(
        M,
        LINEAR
        + """
model M(x: [B, D]) -> [B, D]:
    use blocks_0 = Linear[D -> D]
    use blocks_1 = Linear[D -> D]
    use blocks_2 = Linear[D -> D]
    x = x + blocks_0(x)
    x = x + blocks_1(x)
    x = x + blocks_2(x)
    return x
""",
    )


def test_instances_are_named_by_variables_keys_words_and_layers():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        parts = {"a": nw.use(Linear[D >> D])}
        x = parts["a"](x)
        for _ in range(2):
            inner = nw.use(Linear[D >> D])
            x = inner(x)
        given = nw.use("first", Linear[D >> D])
        return nw.use(Linear[D >> D])(given(x))

    names = [c.name for c in made(M).instances[0].children]
    assert names == ["parts_a", "inner", "inner_2", "first", "linear"]


def test_helper_functions_and_closures_belong_to_the_layer_that_calls_them():
    width = 2.0

    def scaled(y):
        z = y * width
        return nw.tanh(z)

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        y = scaled(x)
        return scaled(y) + y

    same(
        M,
        """
model M(x: [B, D]) -> [B, D]:
    z = x * 2.0
    y = tanh(z)
    z = y * 2.0
    return tanh(z) + y
""",
    )


def test_a_name_may_be_bound_again_while_its_old_value_lives_on():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        kept = [x]
        x = x * 2
        kept.append(x)
        x = x * 3
        return kept[0] + kept[1] + x

    same(
        M,
        """
model M(x: [B, D]) -> [B, D]:
    old = x
    x = x * 2
    second = x
    x = x * 3
    return old + second + x
""",
    )


def test_two_names_change_places():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a, b = nw.relu(x), nw.tanh(x)
        a, b = b, a
        a = nw.exp(a)
        return a - b

    (variant,) = made(M).instances[0].variants
    by = {op.results[0].id: op for op in variant.ops}
    minus = by[variant.results[0].value]
    exp, relu = (by[i] for i in minus.operands)
    assert (minus.name, exp.name, relu.name) == ("subtract", "exp", "relu")
    assert by[exp.operands[0]].name == "tanh"


def test_a_value_without_a_name_that_is_used_twice_is_made_once():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        both = (lambda y: y * y)(nw.relu(x))
        return both

    text = show(made(M), places=False)
    assert text.count("relu(") == 1


def test_a_variable_may_be_called_as_an_op():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        mean = nw.mean[D](x)
        relu = nw.relu(x - mean)
        exp = nw.mean[D](nw.relu(relu))
        return nw.exp(x) * exp

    assert labels(made(M)) >= {"mean", "relu", "exp"}


def test_options_are_pythons_own():
    @nw.layer[D]
    def Net(x: nw.f[..., D], depth=1, act=None, widths=(1, 2)) -> nw.f[..., D]:
        for i in range(depth):
            x = x * widths[i]
        return x if act is None else act(x)

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        one = nw.use(Net)
        two = nw.use(Net, 2, act=nw.relu)
        three = nw.use(Net, depth=2, act=nw.relu, widths=[3, 4])
        return three(two(one(x)))

    text = show(made(M), places=False)
    assert text.count("multiply(") == 5 and text.count("relu(") == 2
    assert "value = 3.0" in text and "value = 4.0" in text
    assert [i.layer for i in made(M).instances] == ["M", "Net", "Net", "Net"]


def test_symbols_for_options_are_settled_where_the_layer_is_used():
    @nw.layer[D]
    def Scale(x: nw.f[..., D], by=1.0, rate=drop) -> nw.f[..., D]:
        return nw.dropout(x, rate=rate) * by

    def M(x: nw.f[B, D], y: nw.f[B, H]) -> nw.f[B]:
        one = nw.use(Scale, by=nw.sqrt(D))
        two = nw.use(Scale[D:H], by=nw.sqrt(H), rate=0.5)
        return nw.sum[D](one(x)) + nw.sum[H](two(y))

    text = show(made(M, D=9, drop=0.25), places=False)
    assert "value = 3.0" in text and "value = 2.449489742783178" in text
    assert "rate = 0.25" in text and "rate = 0.5" in text


def test_a_layer_may_use_itself_with_other_options():
    @nw.layer[D]
    def Tree(x: nw.f[..., D], depth=2) -> nw.f[..., D]:
        if depth:
            below = nw.use(Tree, depth=depth - 1)
            x = below(x) + 1.0
        return x

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        tree = nw.use(Tree)
        return tree(x)

    assert [i.path for i in made(M).instances] == ["", "tree", "tree.below", "tree.below.below"]


def test_a_layer_that_never_ends_using_itself_is_told_so():
    @nw.layer[D]
    def Tower(x: nw.f[..., D], depth=0) -> nw.f[..., D]:
        above = nw.use(Tower, depth=depth + 1)
        return above(x)

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        tower = nw.use(Tower)
        return tower(x)

    with pytest.raises(nw.InputError, match="too-many-layers"):
        made(M)


def test_models_are_made_by_functions_with_arguments():
    def gpt(layers, width):
        N = nw.dims(N=layers)
        W = nw.dims(W=width)

        @nw.layer[W]
        def Block(x: nw.f[..., W]) -> nw.f[..., W]:
            w = nw.param("w", [W], nw.ones())
            return x * w

        @nw.model
        def GPT(x: nw.f[B, W]) -> nw.f[B, W]:
            blocks = nw.repeat[N](Block)
            return blocks(x)

        return GPT

    for layers, width in ((2, 4), (3, 8)):
        module = nw.load(gpt(layers, width)).module
        (child,) = module.instances[0].children
        assert (child.mode, child.along.size.value) == ("repeat", layers)
        assert module.instances[1].params[0].order[0].size.value == width


def test_layers_made_by_a_function_keep_the_sizes_that_it_gave_them():
    def shift(size):
        W = nw.dims(W=size)

        @nw.layer
        def Shift(x: nw.f[...]) -> nw.f[...]:
            by = nw.param("by", [W], nw.ones())
            return x + nw.sum[W](by)

        return Shift

    small, large = shift(3), shift(5)

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a = nw.use(small)
        b = nw.use(large)
        return b(a(x))

    sizes = {i.path: i.params[0].order[0].size.value for i in made(M).instances[1:]}
    assert sizes == {"a": 3, "b": 5}


def test_annotations_as_text_see_what_surrounds_the_function():
    # This file has `from __future__ import annotations`, so every annotation of it is text.
    def inner(size):
        Q = nw.dims(Q=size)

        @nw.model
        def M(x: nw.f[B, Q]) -> nw.f[B, Q]:
            return x * 2

        return M

    assert nw.load(inner(7)).module.instances[0].variants[0].inputs[0].type.dims[1].size.value == 7


def test_a_call_without_a_name_is_made_in_each_round_of_a_loop():
    @nw.layer[D]
    def Bound(x: nw.f[..., D], cap=1.0) -> nw.f[..., D]:
        return cap * nw.tanh(x / cap)

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        for cap in (1.0, 2.0):
            x = Bound(x, cap=cap)
        return x

    module = made(M)
    assert [i.path for i in module.instances] == ["", "Bound", "Bound_2"]
    assert "value = 2.0" in show(module, places=False)


def test_layers_of_another_python_file_keep_its_glossary(tmp_path):
    (tmp_path / "parts.py").write_text(
        "import netwright as nw\n"
        "D, K = nw.dims(D=2, K=5)\n"
        "@nw.layer\n"
        "def Grow(x: nw.f[...]) -> nw.f[..., K]:\n"
        '    w = nw.param("w", [K], nw.ones())\n'
        "    return nw.expand[K](x) * w * D\n"
    )
    parts = module_at(tmp_path / "parts.py")

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        grow = nw.use(parts.Grow)
        return x + nw.sum[parts.K](grow(x))

    text = show(made(M), places=False)
    assert "K.0 = 5" in text or "K.1 = 5" in text
    assert "value = 2" in text and "B.1 = B, D.0 = 4" not in text


def test_what_is_typed_without_a_file_works_too():
    scope: dict = {}
    exec(
        "import netwright as nw\n"
        'B, D = nw.dims("B"), nw.dims(D=3)\n'
        "@nw.model\n"
        "def M(x: nw.f[B, D]) -> nw.f[B]:\n"
        '    w = nw.param("w", [D], nw.ones())\n'
        "    y = x * w\n"
        "    return nw.sum[D](y)\n"
        "@nw.model\n"
        "def Wrong(x: nw.f[B, D]) -> nw.f[B]:\n"
        "    return nw.tanh(x)\n",
        scope,
    )
    assert "y" in labels(nw.load(scope["M"]).module)
    with pytest.raises(nw.InputError, match="dim-left-over") as caught:
        nw.load(scope["Wrong"])
    assert caught.value.diagnostics[0].span.line == 10


def test_numbers_of_numpy_count_as_pythons():
    import numpy as np

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return np.float64(2.0) * x + np.int32(3)

    same(M, "model M(x: [B, D]) -> [B, D]:\n    return 2.0 * x + 3\n")


def test_a_state_is_updated_and_its_value_before_may_be_kept():
    @nw.layer
    def Count(x: nw.f[...]) -> nw.f[...]:
        n = nw.state("n", [], nw.zeros())
        before = nw.value(n)
        n << n + 1
        return x * n + before

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        count = nw.use(Count)
        return count(x)

    same(
        M,
        """
layer Count(x: [...]) -> [...]:
    state n: [] = zeros()
    before = n
    n <- n + 1
    return x * n + before
model M(x: [B, D]) -> [B, D]:
    use count = Count
    return count(x)
""",
    )


def test_branches_on_sizes_choose_by_the_sizes_that_are_set():
    @nw.layer[C >> Co]
    def Project(x: nw.f[..., C]) -> nw.f[..., Co]:
        def project():
            linear = nw.use(Linear[C >> Co])
            return linear(x)

        y = nw.cond(Co == C, lambda: nw.rename[C >> Co](x), project)
        return y

    def M(x: nw.f[B, D]) -> nw.f[B, H]:
        net = nw.use(Project[D >> H])
        return net(x)

    assert [i.path for i in made(M).instances] == ["", "net", "net.linear"]
    assert [i.path for i in made(M, D=6).instances] == ["", "net"]


def test_a_loss_in_python_is_compiled_and_trained():
    twin = module_at(EXAMPLES / "python" / "mlp.py")
    model = nw.load(twin.digit, H=8)
    program = model.compile(EXAMPLES / "mlp")
    state = program.init(seed=0)
    state, metrics = program.step(state, program.put_batch(program.data.batch(0)))
    assert {"loss", "mlp.accuracy"} & {*metrics}
    assert "def digit" in program.source or "def loss" in program.source
    written = nw.load(EXAMPLES / "mlp", H=8).compile()
    assert program.sources["plan.json"] == written.sources["plan.json"]
    bare = [
        re.sub(r"  # \d+| \(?(mlp\.py|model\.nw)[:\d]*\)?", "", p.source)
        for p in (program, written)
    ]
    assert bare[0] == bare[1]


def test_the_command_line_shows_a_model_file_in_python(tmp_path):
    shown = CliRunner().invoke(main, ["show", str(EXAMPLES / "digits"), "--python"])
    assert shown.exit_code == 0
    (tmp_path / "twin.py").write_text(shown.output)
    made = nw.load(module_at(tmp_path / "twin.py").digit).module
    assert difference(nw.load(EXAMPLES / "digits").module, made) == ""
    wrong = CliRunner().invoke(main, ["show", str(tmp_path / "twin.py"), "--python"])
    assert wrong.exit_code and "error[" in wrong.output + wrong.stderr
