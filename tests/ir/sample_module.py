"""A module that has every structure op, as text: what the tests of the verifier corrupt, and what
the tests of evaluation compute by hand."""

# ruff: noqa: E501  (lines of the text form)

from netwright.ir.text import parse

TEXT = """
module "main" loss
  model "net"
  free B, S
  claim open "S >= 2": "the window is 2"

instance "" main
  dims B.0 = B, S.1 = S
  child "net" one
  variant (%0 "x" : float[B.0, S.1] order B.0 S.1, %1 "scale" : float[S.1] order S.1) {
    %2 "first" = call(%0, %1) {binding = ((0, B.0), (1, S.1)), child = "net", occurrence = 0, variant = 0} : float[B.0, S.1]
    %3 "second" = call(%2, %1) {binding = ((0, B.0), (1, S.1)), child = "net", occurrence = 1, variant = 0} : float[B.0, S.1]
    %4 = param() {child = "net", name = "bias"} : float[S.1] order S.1
    %5 "biased" = add(%3, %4) : float[B.0, S.1]
    %6 "loss" = mean[B.0, S.1](%5) {extra = ()} : float[]
    do metric(%6) {name = "value"}
    result %6 []
  }

instance "net" Net
  dims B.0 = B, S.1 = S, L.2 = 3, E.3 = 2, T.4 = S
  param "bias" : float[S.1] = {
    %0 = const() {dtype = "float", value = 0.5} : float[]
    %1 = expand[S.1](%0) : float[S.1]
    result %1
  }
  state "calls" : float[] = {
    %0 = const() {dtype = "float", value = 0.0} : float[]
    result %0
  }
  child "blocks" repeat L.2
  child "heads" each E.3
  variant (%0 "x" : float[B.0, S.1] order B.0 S.1, %1 "scale" : float[S.1] order S.1) {
    %2 "lanes" = expand[L.2](%1) : float[S.1, L.2]
    %3 "out", %4 "seen" = repeat(%0, %2) {along = L.2, binding = ((5, B.0), (7, S.1)), carried = ((0, 0),), child = "blocks", dealt = (1,), occurrence = 0, variant = 0} : float[B.0, S.1], float[B.0, L.2]
    %5 "heads" = each(%3) {along = E.3, binding = ((0, B.0), (1, S.1)), child = "heads", dealt = (), occurrence = 0, variant = 0} : float[B.0, S.1, E.3]
    %6 "mixed" = sum[E.3](%5) {extra = ()} : float[B.0, S.1]
    %7 "start" = sum[L.2](%4) {extra = ()} : float[B.0]
    %8 "last", %9 "running" = scan(%6, %7) {along = S.1, carry = 1} : float[B.0], float[B.0, S.1]
      region (%10 : int[], %11 "step" : float[B.0], %12 "h" : float[B.0]) {
        %13 "h.2" = add(%12, %11) : float[B.0]
        %14 "h.3" = multiply(%13, %10) : float[B.0]
        result %13, %14
      }
    %15 = state() {child = "", name = "calls"} : float[]
    %16 "calls.2" = if_train() : float[]
      region {
        %17 = const() {dtype = "float", value = 1.0} : float[]
        %18 "more" = add(%15, %17) : float[]
        result %18
      }
      region {
        result %15
      }
    result %9 "y" [B.0, S.1]
    write "calls" %16
  }

instance "net.blocks" Block
  dims B.5 = B, T.7 = S
  param "w" : float[T.7] = {
    %0 = const() {dtype = "float", value = 1.0} : float[]
    %1 = expand[T.7](%0) : float[T.7]
    result %1
  }
  state "count" : int[] = {
    %0 = const() {dtype = "int", value = 0} : int[]
    result %0
  }
  variant (%0 "x" : float[T.7, B.5] order B.5 T.7, %1 "lane" : float[T.7] order T.7) {
    %2 = param() {child = "", name = "w"} : float[T.7] order T.7
    %3 "scaled" = multiply(%0, %2) : float[B.5, T.7]
    %4 "shifted" = add(%3, %1) : float[B.5, T.7]
    %5 "sum" = sum[T.7](%4) {extra = ()} : float[B.5]
    %6 = state() {child = "", name = "count"} : int[]
    %7 = const() {dtype = "int", value = 1} : int[]
    %8 "count.2" = add(%6, %7) : int[]
    %9 "reported" = sum[B.5](%5) {extra = ()} : float[]
    do metric(%9) {name = "size"}
    result %4 [B.5, T.7]
    result %5 "sum" [B.5]
    write "count" %8
  }

instance "net.heads" Head
  dims B.0 = B, S.1 = S
  param "v" : float[S.1] = {
    %0 = const() {dtype = "float", value = 1.0} : float[]
    %1 = expand[S.1](%0) : float[S.1]
    result %1
  }
  variant (%0 "x" : float[B.0, S.1] order B.0 S.1) {
    %1 = param() {child = "", name = "v"} : float[S.1] order S.1
    %2 "y" = multiply(%0, %1) : float[B.0, S.1]
    result %2 [B.0, S.1]
  }
"""

MODULE = parse(TEXT)
