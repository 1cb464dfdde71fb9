"""Good sources become the trees that they should."""

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.frontend import tree
from netwright.frontend.parser import parse
from netwright.ir.diagnostics import Diagnostics, Span, render

GOOD = sorted((Path(__file__).parent / "golden_syntax" / "good").glob("*.nw"))
GPT, FORMS, CORNERS = (
    (Path(__file__).parent / "golden_syntax" / "good" / f"{name}.nw").read_text(encoding="utf-8")
    for name in ("gpt", "forms", "corners")
)
AT = Span("", 1, 1, 1, 1)  # places do not count in comparisons


def parsed(text: str) -> tree.File:
    diagnostics = Diagnostics()
    file = parse(text, "model.nw", diagnostics)
    assert file is not None, "\n".join(render(d, diagnostics.sources) for d in diagnostics)
    return file


def layer(text: str, name: str) -> tree.Layer:
    return next(i for i in parsed(text).items if getattr(i, "name", None) == name)


def body(*lines: str) -> tuple[tree.Statement, ...]:
    rows = "\n".join(f"    {line}" for line in lines)
    return layer(f"layer A[D](x: [D]) -> [D]:\n{rows}\n", "A").body


def expression(text: str) -> tree.Expr:
    (statement,) = body(f"return {text}")
    return statement.values[0]


def show(node) -> str:
    """A tree on one line: enough to compare structure at a glance."""
    if isinstance(node, tuple):
        return "[" + " ".join(show(n) for n in node) + "]"
    if isinstance(node, tree.Number | tree.Constant):
        return repr(node.value)
    if isinstance(node, tree.Name):
        return node.id
    if isinstance(node, tree.Member):
        return f"{show(node.base)}.{node.name}"
    if isinstance(node, tree.Dots):
        return "..."
    if isinstance(node, tree.Binary):
        return f"({show(node.left)} {node.op} {show(node.right)})"
    if isinstance(node, tree.Unary):
        return f"({node.op} {show(node.operand)})"
    if isinstance(node, tree.Node):
        values = (getattr(node, f.name) for f in fields(node) if "span" not in f.name)
        return f"{type(node).__name__}({', '.join(show(v) for v in values)})"
    return repr(node)


# Whole files.


def test_docstrings():
    assert parsed(GPT).doc == ("A small Llama: grouped-query attention, rotary positions, SwiGLU.")
    assert layer(GPT, "Attention").doc == "Grouped-query attention: k and v simply lack R."
    assert parsed(CORNERS).doc == (
        "Forms that the other two do not have.\n\nA docstring keeps its own indentation."
    )


def test_docstring_keeps_inner_indentation():
    doc = '"""One.\n\n    Two:\n        three\n    """'
    text = f"layer A[D](x: [D]) -> [D]:\n    {doc}\n    return x\n"
    assert layer(text, "A").doc == "One.\n\nTwo:\n    three"


def test_glossary():
    dims, const = parsed(GPT).items[:2]
    assert [show(i) for i in dims.items] == [
        "DimDecl('B', None)",
        "DimDecl('S', None)",
        "DimDecl('V', 256)",
        "DimDecl('L', 4)",
        "DimDecl('D', 128)",
        "DimDecl('F', 384)",
        "DimDecl('G', 2)",
        "DimDecl('R', 2)",
        "DimDecl('K', 32)",
    ]
    assert [show(i) for i in const.items] == ["ConstDecl('drop', 0.1)"]


def test_kinds_and_names():
    assert [(i.kind, i.name) for i in parsed(GPT).items[2:]] == [
        ("layer", "RMSNorm"),
        ("layer", "Attention"),
        ("layer", "SwiGLU"),
        ("layer", "Block"),
        ("model", "GPT"),
        ("loss", "next_token"),
    ]


def test_headers():
    attention = layer(GPT, "Attention")
    assert show(attention.dims) == (
        "[Item(S, None, None) Item(D, None, None) Item(G, None, None)"
        " Item(R, None, None) Item(K, None, None)]"
    )
    assert show(attention.arguments) == "[Argument('x', TypeExpr('float', [... S D]), None)]"
    assert show(attention.results) == "[Result(None, TypeExpr('float', [... S D]))]"
    assert show(layer(GPT, "RMSNorm").arguments[1]) == "Argument('eps', None, 1e-06)"
    assert layer(GPT, "next_token").results == ()
    assert show(layer(GPT, "GPT").arguments) == "[Argument('tokens', TypeExpr('int', [B S]), None)]"
    assert (
        show(layer(FORMS, "Down").dims) == "[Item(C, Co, None) Item(Y, Yo, None) Item(X, Xo, None)]"
    )
    assert show(layer(FORMS, "LSTM").arguments[1]) == (
        "Argument('live', TypeExpr('bool', [... T]), True)"
    )
    assert show(layer(FORMS, "Experts").results) == (
        "[Result('y', TypeExpr('float', [... S D])) Result('balance', TypeExpr('float', []))]"
    )
    foo = layer(CORNERS, "Foo")
    assert show(foo.dims) == "[Item(Y, Yo, Y) Item(Ky, None, 3)]"
    assert (
        show(foo.arguments[2:4])
        == "[Argument('norm', None, None) Argument('pad', None, Tuple([0 1]))]"
    )


def test_statements():
    norm = layer(FORMS, "BatchNorm")
    assert show(norm.body[0]) == "Param('scale', TypeExpr('float', [C]), Call(ones, None, [], []))"
    assert (
        show(norm.body[2]) == "State('average', TypeExpr('float', [C]), Call(zeros, None, [], []))"
    )
    branch = norm.body[4]
    assert show(branch.condition) == "train"
    assert show(branch.then[2]) == (
        "Update(average, ((momentum * average) + ((1 - momentum) * m)))"
    )
    assert show(branch.orelse) == "[Assign([m v], [average variance])]"
    assert show(layer(GPT, "GPT").body[1]) == "Use('blocks', 'repeat', L, Block, None, [], [])"
    assert show(layer(GPT, "next_token").body[2]) == (
        "Metric('accuracy', Call(mean, [Item(B, None, None) Item(S, None, None)],"
        " [(Call(argmax, [Item(V, None, None)], [logits], []) == targets)], []))"
    )
    assert show(layer(FORMS, "Down").body[0]) == "Dims([DimDecl('Ky', 3) DimDecl('Kx', 3)])"
    assert show(layer(FORMS, "Experts").body[-1]) == "Return([y balance])"


@pytest.mark.parametrize(
    "line, shown",
    [
        ("use a = Foo", "Use('a', 'one', None, Foo, None, [], [])"),
        ("use a = vision.Foo()", "Use('a', 'one', None, vision.Foo, None, [], [])"),
        (
            "use c = Conv[Ch -> C](stride = 2)",
            "Use('c', 'one', None, Conv, [Item(Ch, C, None)], [], [Keyword('stride', 2)])",
        ),
        (
            "use e = each[E] Foo[D = X](k = 1)",
            "Use('e', 'each', E, Foo, [Item(D, None, X)], [], [Keyword('k', 1)])",
        ),
        ("a, _ = f(x)", "Assign([a _], [Call(f, None, [x], [])])"),
        ("a <-1", "Update(a, 1)"),
        ("a = b <-1", "Assign([a], [(b < (- 1))])"),
        ("return a, b + 1", "Return([a (b + 1)])"),
    ],
)
def test_lines(line, shown):
    assert show(body(line)) == f"[{shown}]"


def test_scan():
    _, _, _, _, scan, _ = layer(FORMS, "LSTM").body
    assert show(scan.targets) == "[ys]" and show(scan.along) == "T"
    assert [k.name for k in scan.inputs] == ["x", "live"]
    assert [k.name for k in scan.carry] == ["h", "c"]
    assert [type(s).__name__ for s in scan.body] == ["Assign", "Assign", "Assign", "Emit"]
    assert show(body("scan[T]():", "    emit x, x")) == "[Scan([], T, [], [], [Emit([x x])])]"


def test_elif_is_an_if_in_the_else():
    (branch,) = body("if a:", "    x = 1", "elif b:", "    x = 2", "else:", "    x = 3")
    (inner,) = branch.orelse
    assert show(inner) == "If(b, [Assign([x], [2])], [Assign([x], [3])])"
    (alone,) = body("if a:", "    x = 1", "elif b:", "    x = 2")
    assert alone.orelse[0].orelse == ()


# Expressions.


@pytest.mark.parametrize(
    "text, shown",
    [
        ("-a ** -b ** c", "(- (a ** (- (b ** c))))"),
        ("a - b - c", "((a - b) - c)"),
        ("a * b // c % d", "(((a * b) // c) % d)"),
        ("not a == b or c and d", "((not (a == b)) or (c and d))"),
        ("not not a", "(not (not a))"),
        ("(a < b) == c", "((a < b) == c)"),
        ("1_000 + 1e-6 + .5 + 2. + 0", "((((1000 + 1e-06) + 0.5) + 2.0) + 0)"),
        ("true and none", "(True and None)"),
        ("encoder.attn.wq", "encoder.attn.wq"),
        ("mean[...](x)", "Call(mean, [Item(..., None, None)], [x], [])"),
        ("split[Y -> P * K](x)", "Call(split, [Item(Y, (P * K), None)], [x], [])"),
        ("concat[A + B -> C](a, b)", "Call(concat, [Item((A + B), C, None)], [a b], [])"),
        ("tower[S = T](b)", "Call(tower, [Item(S, None, T)], [b], [])"),
        ("f(x, pad = (0, 1),)", "Call(f, None, [x], [Keyword('pad', Tuple([0 1]))])"),
        ("index[S]()", "Call(index, [Item(S, None, None)], [], [])"),
        ("ones()", "Call(ones, None, [], [])"),
        ("(\n  a\n\n  # b\n  + c)", "(a + c)"),
    ],
)
def test_expressions(text, shown):
    assert show(expression(text)) == shown


def test_int_stays_int():
    assert isinstance(expression("1_000").value, int)
    assert isinstance(expression("1e3").value, float)


OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", "and", "or"]
PYTHON = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=", ast.And: "and",
    ast.Or: "or", ast.Not: "not", ast.USub: "-",
}  # fmt: skip


def python(node) -> str:
    """What `show` says, of Python's own tree."""
    if isinstance(node, ast.BinOp):
        return f"({python(node.left)} {PYTHON[type(node.op)]} {python(node.right)})"
    if isinstance(node, ast.BoolOp):
        left, *rest = node.values
        shown = python(left)
        for value in rest:
            shown = f"({shown} {PYTHON[type(node.op)]} {python(value)})"
        return shown
    if isinstance(node, ast.UnaryOp):
        return f"({PYTHON[type(node.op)]} {python(node.operand)})"
    if isinstance(node, ast.Compare):
        if len(node.ops) > 1:
            raise ValueError("a chain")
        return f"({python(node.left)} {PYTHON[type(node.ops[0])]} {python(node.comparators[0])})"
    if isinstance(node, ast.Constant):
        return repr(node.value)
    assert isinstance(node, ast.Name)
    return node.id


atoms = st.sampled_from(["a", "b", "K", "2", "0.5"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("-{}".format, inner),
        st.builds("not {}".format, inner),
        st.builds("{} {} {}".format, inner, st.sampled_from(OPERATORS), inner),
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(expressions)
def test_precedence_is_that_of_python(text):
    diagnostics = Diagnostics()
    file = parse(f"layer A[D](x: [D]) -> [D]:\n    return {text}\n", "a.nw", diagnostics)
    try:
        wanted = python(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError):  # such as `a + not b`, and chained comparisons
        assert file is None and diagnostics.errors
        return
    assert file is not None
    assert show(file.items[0].body[0].values[0]) == wanted


def test_importing_is_light():
    script = "import sys, netwright.frontend.parser; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert not {"rich", "numpy", "networkx", "jax", "scipy"} & set(loaded.split())


# Layout.


def test_line_ends_and_marks():
    plain = parsed(FORMS)
    assert parsed(FORMS.replace("\n", "\r\n")) == plain
    assert parsed("\ufeff" + FORMS) == plain
    assert parsed(FORMS.rstrip("\n")) == plain
    assert parsed(FORMS.replace("\n", "\n\n   # words\n")) == plain


def test_empty_file():
    assert parsed("") == parsed("# nothing\n\n") == tree.File("", (), span=AT)


# Places.


def nodes(node):
    """A node and all below it."""
    if isinstance(node, tree.Node):
        yield node
    for value in node if isinstance(node, tuple) else vars(node).values():
        if isinstance(value, tree.Node | tuple):
            yield from nodes(value)


def words(text: str, span: Span) -> str:
    rows = text.split("\n")[span.line - 1 : span.end_line]
    rows[-1] = rows[-1][: span.end_column - 1]
    rows[0] = rows[0][span.column - 1 :]
    return "\n".join(rows)


def source(node) -> str:
    """What a node was written as, where that is one way."""
    if isinstance(node, tree.Name):
        return node.id
    if isinstance(node, tree.Member):
        return f"{source(node.base)}.{node.name}"
    assert isinstance(node, tree.Dots)
    return "..."


@pytest.mark.parametrize("path", GOOD, ids=[p.stem for p in GOOD])
def test_spans_are_the_exact_words(path):
    text = path.read_text(encoding="utf-8")
    for node in nodes(parsed(text)):
        said = words(text, node.span)
        if isinstance(node, tree.Name | tree.Member | tree.Dots):
            assert said == source(node)
        elif isinstance(node, tree.File):
            assert said == text
        elif isinstance(node, tree.Layer):
            assert said.startswith(f"{node.kind} {node.name}") and said.endswith(":")
            assert words(text, node.name_span) == node.name
        elif isinstance(node, tree.Call | tree.Binary | tree.Unary | tree.Number | tree.Tuple):
            assert expression(said) == node if not isinstance(node, tree.Tuple) else said[0] == "("
        elif isinstance(node, tree.If | tree.Scan):
            assert said.endswith(":")
        elif isinstance(node, tree.Keyword | tree.ConstDecl):
            assert said.startswith(node.name + " = ") and words(text, node.value.span) in said
        elif isinstance(node, tree.TypeExpr):
            assert said.endswith("]") and said[0] in "[ib"
        else:
            assert said == said.strip() and said[-1] not in ",:"


def test_span_of_parentheses():
    text = "layer A[D](x: [D]) -> [D]:\n    return (x + 1) * 2\n"
    product = parsed(text).items[0].body[0].values[0]
    assert words(text, product.span) == "(x + 1) * 2"
    assert words(text, product.left.span) == "(x + 1)"
