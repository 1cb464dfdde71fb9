"""The verifier: a valid module passes, and each rule finds what breaks it."""

# ruff: noqa: E501  (lines of the text form)

from __future__ import annotations

from dataclasses import replace

import pytest
from netwright.ir.bind import substitute
from netwright.ir.core import Dim, Module, Op, Type, Value, attributes
from netwright.ir.facts import FACTS
from netwright.ir.size import Size
from netwright.ir.text import parse
from netwright.ir.verify import MEANING, verify
from netwright.ir.verify_form import FORM
from sample_module import MODULE, TEXT


def test_the_sample_is_valid():
    assert verify(MODULE) == []
    assert verify(substitute(MODULE, {"B": 2, "S": 4})) == []


CORRUPTIONS = [
    # rule, what is replaced in the text, by what, part of the message
    ("paths", 'instance "net.heads"', 'instance "net.tails"', "there is no instance of this path"),
    ("paths", 'instance "net.heads"', 'instance "net.blocks"', "two instances have this path"),
    ("paths", 'child "heads" each', 'child "blocks" each', "two children"),
    ("paths", 'model "net"', 'model "web"', "the model is not there"),
    ("paths", 'instance "" main', 'instance "main" main', "empty path"),
    ("ids", "%18 \"more\" = add(%15, %17)", "%18 \"more\" = add(%15, %16)", "reads %16"),
    ("ids", "    write \"calls\" %16", "    write \"calls\" %18", "the write of calls reads %18"),
    ("ids", "result %9 \"y\"", "result %13 \"y\"", "the result y reads %13"),
    ("ids", "%7 \"start\"", "%6 \"start\"", "%6 is defined twice"),
    ("ids", "result %13, %14", "result %13, %99", "gives %99"),
    ("registered", "%4 \"shifted\" = add", "%4 \"shifted\" = plus", "no op 'plus'"),
    ("attributes", "value = 0.5", 'value = "half"', "value of %0 = const"),
    ("attributes", "occurrence = 1", "occurrence = -1", "occurrence of second"),
    ("attributes", "carry = 1", "carry = none", "carry of last, running"),
    ("attributes", "carried = ((0, 0),)", "carried = ((0, 0), (1, 0))", "carried of out, seen"),
    ("attributes", "dealt = (1,)", "dealt = (1, 1)", "dealt of out, seen"),
    ("attributes", 'along = E.3, binding', 'along = "E", binding', "along of heads"),
    ("operands", "multiply(%0, %2) :", "multiply(%0, %2, %2) :", "has 3 operands"),
    ("operands", "do metric(%9)", "do metric(%9, %9, %9)", "has 3 operands"),
    ("operands", "(%5) {extra = ()} : float[B.0, S.1]", "(%5) {extra = (\"mask\",)} : float[B.0, S.1]", "operands"),
    ("operands", "      region {\n        result %15\n      }\n", "", "has 1 regions"),
    ("dtypes", "%8 \"count.2\" = add(%6, %7) : int[]", "%8 \"count.2\" = add(%6, %7) : integer[]", "'integer'"),
    ("types", "%4 \"shifted\" = add(%3, %1) : float[B.5, T.7]", "%4 \"shifted\" = add(%3, %1) : float[T.7]", "it gives"),
    ("types", "call(%2, %1)", "call(%1, %1)", "operand 0 is [S], where it asks for [B, S]"),
    ("types", "call(%2, %1)", "call(%2)", "it has 1 operands"),
    ("types", "occurrence = 1, variant = 0", "occurrence = 1, variant = 1", "none is 1"),
    ("types", "dealt = (1,)", "dealt = ()", "operand 1 is [S, L], where it asks for [S]"),
    ("types", "binding = ((5, B.0), (7, S.1))", "binding = ((5, B.0),)", "stands for the child's dim T"),
    ("types", "binding = ((5, B.0), (7, S.1))", "binding = ((5, B.0), (7, B.0))", "two dims of the child are one"),
    ("types", "binding = ((5, B.0), (7, S.1))", "binding = ((5, B.0), (6, S.1), (7, S.1))", "no dim number 6"),
    ("types", "carried = ((0, 0),)", "carried = ((1, 0),)", "cannot become argument 0"),
    ("types", "float[B.0, S.1], float[B.0, L.2]", "float[B.0, S.1], float[B.0]", "it gives"),
    ("types", "float[B.0, S.1, E.3]\n", "float[B.0, S.1]\n", "it gives"),
    ("types", "(%10 : int[]", "(%10 : float[]", "the number of the step"),
    ("types", "result %13, %14", "result %10, %14", "what is carried changes"),
    ("types", "{along = S.1, carry = 1} : float[B.0], float[B.0, S.1]", "{along = S.1, carry = 1} : float[B.0], float[B.0]", "it gives"),
    ("types", "      region {\n        result %15", "      region {\n        result %7", "second branch"),
    ("types", "do metric(%9)", "do metric(%5)", "not a scalar"),
    ("types", '{child = "net", name = "bias"}', '{child = "net", name = "was"}', "has no param 'was'"),
    ("types", '{child = "net", name = "bias"}', '{child = "nut", name = "bias"}', "no instance 'nut'"),
    ("types", 'name = "bias"} : float[S.1] order S.1', 'name = "bias"} : float[S.1]', "without an order"),
    ("types", 'name = "w"} : float[T.7] order T.7', 'name = "w"} : float[B.5] order B.5', "it gives"),
    ("calls", "occurrence = 1", "occurrence = 0", "second with occurrence 0"),
    ("calls", 'child "blocks" repeat L.2', 'child "blocks" each L.2', "used as each"),
    ("calls", 'child "blocks" repeat L.2', 'child "blocks" repeat E.3', "stacked along E, not L"),
    ("orders", "float[B.0, S.1] order B.0 S.1, %1", "float[B.0, S.1] order B.0, %1", "ordered B"),
    ("orders", "%1 \"lane\" : float[T.7] order T.7", "%1 \"lane\" : float[T.7]", "has no order"),
    ("orders", "result %5 \"sum\" [B.5]", "result %5 \"sum\" [T.7]", "not as declared"),
    ("orders", "%6 \"mixed\" = sum[E.3](%5) {extra = ()} : float[B.0, S.1]", "%6 \"mixed\" = sum[E.3](%5) {extra = ()} : float[B.0, S.1] order (B.0 S.1) E.3", "ordered (B S) E"),
    ("labels", '%6 "mixed"', '%6 "out"', "'out' is taken"),
    ("labels", '%6 "mixed"', '%6 "a/b"', "has a slash"),
    ("variables", 'state "count"', 'state "w"', None),
    ("variables", 'param "w" : float[T.7] =', 'param "w" : float[T.7] order T.7 B.5 =', "ordered T, B"),
    ("variables", "%1 = expand[T.7](%0) : float[T.7]\n    result %1", "result %0", "it gives [], not [T]"),
    ("variables", '{\n    %0 = const() {dtype = "int", value = 0} : int[]', '{\n    %0 = state() {child = "", name = "count"} : int[]', "it has %0 = state"),
    ("writes", 'write "count"', 'write "counts"', "no state 'counts'"),
    ("writes", 'write "count" %8', 'write "count" %8\n    write "count" %8', "written twice"),
    ("writes", 'write "count" %8', 'write "count" %9', "written with []"),
    ("results", "result %4 [B.5, T.7]", 'result %4 "sum" [B.5, T.7]', "two results of one name"),
    ("results", "result %6 []", "result %5 [B.0, S.1]", "a scalar first"),
    ("free_sizes", "free B, S", "free B", "speaks of S"),
    ("free_sizes", 'claim open "S >= 2"', 'claim open "Q >= 2"', "the claim Q >= 2"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "old", "new", "message"), CORRUPTIONS)
def test_each_rule_finds_what_breaks_it(rule, old, new, message):
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    found = verify(parse(text))
    assert rule in {v.rule for v in found}, found
    if message is not None:
        assert any(v.rule == rule and message in v.message for v in found), found


def test_every_rule_has_a_corruption():
    # The text form cannot say what is wrong with dims; their tests are below.
    assert {"dims", *(rule for rule, *_ in CORRUPTIONS)} == {*FORM, *MEANING}


def changed(path: str, **changes) -> Module:
    """The sample with an instance changed."""
    instances = tuple(replace(i, **changes) if i.path == path else i for i in MODULE.instances)
    return replace(MODULE, instances=instances)


def rules(module: Module) -> set[str]:
    return {v.rule for v in verify(module)}


def test_dims_of_the_table_are_unique():
    table = MODULE.instance("net").dims
    assert rules(changed("net", dims=(*table, replace(table[0], name="X")))) == {"dims"}


def test_dims_in_use_are_those_of_the_table():
    table = MODULE.instance("net").dims
    other = tuple(replace(d, size=Size.of(7)) if d.name == "L" else d for d in table)
    assert rules(changed("net", dims=other)) == {"dims"}
    assert rules(changed("net", dims=table[:3])) == {"dims"}


def test_attributes_are_sorted_constants():
    def with_op(op: Op) -> Module:
        head = MODULE.instance("net.heads")
        (variant,) = head.variants
        return changed("net.heads", variants=(replace(variant, ops=(op, *variant.ops)),))

    value = Value(9, Type("float"))
    good = attributes(dtype="float", value=1.0)
    assert rules(with_op(Op("const", (), (value,), good))) == set()
    assert rules(with_op(Op("const", (), (value,), good[::-1]))) == {"attributes"}
    for bad in ([1], 1j, {"a": 1}, Type("float")):
        op = Op("const", (), (value,), attributes(dtype="float", value=1.0, x=(bad,)))
        assert rules(with_op(op)) == {"attributes"}


def test_an_entry_of_the_registry_that_breaks_is_a_violation():
    text = TEXT.replace('%6 "mixed" = sum[E.3](%5) {extra = ()}', '%6 "mixed" = sum(%5) {dims = 3}')
    found = verify(parse(text))
    assert any("its shape rule raises" in v.message for v in found)


def test_branches_may_share_an_occurrence():
    text = """
module "m" model

instance "" M
  child "f" one
  variant () {
    %0 "y" = if_train() : float[]
      region {
        %1 = call() {binding = (), child = "f", occurrence = 0, variant = 0} : float[]
        result %1
      }
      region {
        %2 = call() {binding = (), child = "f", occurrence = 0, variant = 0} : float[]
        result %2
      }
    result %0 []
  }

instance "f" F
  variant () {
    %0 = const() {dtype = "float", value = 1.0} : float[]
    result %0 []
  }
"""
    assert verify(parse(text)) == []
    after = '      }\n    %3 = call() {binding = (), child = "f", occurrence = 0, variant = 0} : float[]\n    result %0 []'
    assert rules(parse(text.replace("      }\n    result %0 []", after))) == {"calls"}


# Facts


def claiming(module: Module, *facts: str) -> set[str]:
    return rules(replace(module, facts=facts))


def test_facts_are_known():
    assert claiming(MODULE, "tidy") == {"facts"}
    assert set(FACTS) == {"checked", "simplified", "bound", "specialised", "precise", "ordered"}


def test_checked():
    assert claiming(MODULE, "checked") == {"checked"}
    required = tuple(replace(c, verdict="required") for c in MODULE.claims)
    assert claiming(replace(MODULE, claims=required), "checked") == set()


def test_simplified():
    assert claiming(MODULE, "simplified") == set()
    text = TEXT.replace(
        "    result %2 [B.0, S.1]\n",
        "    %3 = negate(%2) : float[B.0, S.1]\n    result %2 [B.0, S.1]\n",
    )
    assert claiming(parse(text), "simplified") == {"simplified"}


def test_bound():
    assert claiming(MODULE, "bound") == {"bound"}
    whole = substitute(MODULE, {"B": 2, "S": 4})
    assert claiming(whole, "bound") == set()
    assert claiming(replace(whole, sizes=()), "bound") == {"bound"}
    assert claiming(substitute(MODULE, {"B": 2}), "bound") == {"bound"}


def test_specialised():
    assert claiming(MODULE, "specialised") == {"specialised"}


def test_precise():
    assert claiming(MODULE, "precise") == {"precise"}
    text = TEXT.replace("float[", "float32[").replace("int[", "int32[")
    text = text.replace('dtype = "float"', 'dtype = "float32"').replace('"int"', '"int32"')
    module = parse(text)
    left = {v.message for v in verify(replace(module, facts=("precise",)))}
    assert left == set()


ORDERED = """
module "m" model
  free B, S

instance "" M
  dims B.0 = B, S.1 = S, D.2 = 4
  child "f" one
  variant (%0 "x" : float[B.0, S.1, D.2] order B.0 S.1 D.2, %1 "b" : float[D.2] order D.2) {
    %2 = collapse(%0) : float[B.0, S.1, D.2] order (B.0 S.1) D.2
    %3 "y" = add(%2, %1) : float[B.0, S.1, D.2] order (B.0 S.1) D.2
    %4 = uncollapse(%3) : float[B.0, S.1, D.2] order B.0 S.1 D.2
    %5 = call(%4) {binding = ((0, B.0), (1, S.1), (2, D.2)), child = "f", occurrence = 0, variant = 0} : float[B.0, S.1, D.2] order B.0 S.1 D.2
    result %5 [B.0, S.1, D.2]
  }

instance "f" F
  dims B.0 = B, S.1 = S, D.2 = 4
  variant (%0 "x" : float[B.0, S.1, D.2] order B.0 S.1 D.2) {
    result %0 [B.0, S.1, D.2]
  }
"""


def test_ordered():
    assert claiming(MODULE, "ordered") == {"ordered"}
    assert verify(parse(ORDERED)) == []
    assert claiming(parse(ORDERED), "ordered") == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%3 \"y\" = add(%2, %1) : float[B.0, S.1, D.2] order (B.0 S.1) D.2", "%3 \"y\" = add(%2, %1) : float[B.0, S.1, D.2] order B.0 S.1 D.2"),
        ("add(%2, %1)", "add(%0, %1)"),
        ("call(%4)", "call(%3)"),
        ("result %5 [B.0, S.1, D.2]", "result %5 [S.1, B.0, D.2]"),
        ("variant = 0} : float[B.0, S.1, D.2] order B.0 S.1 D.2", "variant = 0} : float[B.0, S.1, D.2] order S.1 B.0 D.2"),
        ("%4 = uncollapse(%3) : float[B.0, S.1, D.2] order B.0 S.1 D.2", "%4 = uncollapse(%3) : float[B.0, S.1, D.2]"),
    ],
)  # fmt: skip
def test_ordered_finds_what_is_arranged_otherwise(old, new):
    assert old in ORDERED
    assert claiming(parse(ORDERED.replace(old, new)), "ordered") == {"ordered"}


def test_a_dim_may_have_the_same_name_as_another():
    table = MODULE.instance("net").dims
    assert rules(changed("net", dims=(*table, Dim(99, "B", Size.of(2))))) == set()
