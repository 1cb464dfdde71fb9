"""The rewriting engine: what comes back, labels, regions, removal."""

from __future__ import annotations

from dataclasses import replace

from netwright.ir.rewrite import rewrite
from netwright.ir.text import parse, show
from netwright.ir.verify import verify

MODULE = parse(
    """
module "m" model
  free B

instance "" M
  dims B.0 = B, T.1 = 3
  param "w" : float[T.1] = {
    %0 = const() {dtype = "float", value = 1.0} : float[]
    %1 = expand[T.1](%0) : float[T.1]
    result %1
  }
  state "s" : float[] = {
    %0 = const() {dtype = "float", value = 0.0} : float[]
    result %0
  }
  variant (%0 "x" : float[B.0, T.1] order B.0 T.1) {
    %1 = param() {child = "", name = "w"} : float[T.1]
    %2 "y" = multiply(%0, %1) : float[B.0, T.1]
    %3 = state() {child = "", name = "s"} : float[]
    %13 = expand[B.0](%3) : float[B.0]
    %4 "last", %5 "all" = scan(%2, %13) {along = T.1, carry = 1} : float[B.0], float[B.0, T.1]
      region (%6 : int[], %7 "y.step" : float[B.0], %8 : float[B.0]) {
        %9 "sum" = add(%8, %7) : float[B.0]
        result %9, %9
      }
    %10 "seen" = if_train() : float[B.0, T.1]
      region {
        %11 "minus" = negate(%5) : float[B.0, T.1]
        result %11
      }
      region {
        result %5
      }
    %12 "total" = sum[B.0, T.1](%10) {extra = ()} : float[]
    result %10 "out" [T.1, B.0]
    write "s" %12
  }
"""
)


def labels(module):
    (variant,) = module.instances[0].variants
    return [r.label for op in variant.ops for r in op.results]


def test_the_sample_is_valid():
    assert verify(MODULE) == []


def test_keeping_every_op_renumbers_and_nothing_else():
    once = rewrite(MODULE, lambda scope, op: None)
    assert verify(once) == []
    assert rewrite(once, lambda scope, op: None) == once
    assert labels(once) == labels(MODULE)


def test_a_label_is_handed_on_to_what_stands_for_the_value():
    def visit(scope, op):
        if op.name != "negate":
            return None
        minus = scope.add("const", value=-1.0, dtype="float", span=op.span)
        return (scope.add("multiply", *op.operands, minus),)

    after = rewrite(MODULE, visit)
    assert verify(after) == []
    assert '"minus" = multiply' in show(after)


def test_a_label_stays_with_the_labelled_value_when_another_is_put_after_it():
    def visit(scope, op):
        if op.name != "negate":
            return None
        (kept,) = scope.append(op)
        return (scope.add("negate", scope.add("negate", kept)),)

    after = rewrite(MODULE, visit)
    assert verify(after) == []
    assert show(after).count('"minus"') == 1


def test_an_op_that_nobody_reads_can_be_removed():
    def visit(scope, op):
        return () if op.name == "sum" else None

    silent = replace(MODULE.instances[0].variants[0], writes=())
    module = replace(MODULE, instances=(replace(MODULE.instances[0], variants=(silent,)),))
    after = rewrite(module, visit)
    assert verify(after) == []
    assert "sum[" not in show(after)


def test_initializers_are_visited_unless_told_otherwise():
    def visit(scope, op):
        if op.name == "const" and scope.variable is not None:
            return (scope.add("const", value=7.0, dtype="float"),)
        return None

    assert show(rewrite(MODULE, visit)).count("7.0") == 2
    assert rewrite(MODULE, visit, inits=False) == rewrite(MODULE, lambda scope, op: None)


def test_arguments_results_and_writes_can_be_changed():
    def result(scope, old, id):
        return scope.add("negate", id)

    after = rewrite(
        MODULE, lambda scope, op: None, result=result, write=lambda s, n, id: s.add("negate", id)
    )
    assert verify(after) == []
    (variant,) = after.instances[0].variants
    assert [op.name for op in variant.ops[-2:]] == ["negate", "negate"]
    assert variant.results[0].value == variant.ops[-2].result.id
    assert variant.writes == (("s", variant.ops[-1].result.id),)
