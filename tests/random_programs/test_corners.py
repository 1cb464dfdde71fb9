"""Corners of the writer that random programs found, each as a module of its own."""

from __future__ import annotations

import pytest
from netwright.backend.source import letters
from netwright.ir.core import Dim
from netwright.ir.size import Size
from netwright.ir.text import parse
from random_modules import Program
from random_runs import DOUBLE, check, emit, steps

HEAD = """module "corner" model
  model ""
  free S

instance "" Corner
  dims S.0 = S, K.1 = 2
"""

CARRIED_NUMBER = """  variant (%0 "x" : float[S.0] order S.0) {
    %1 = const() {dtype = "float", value = 0.5} : float[]
    %6, %7 "ys" = scan(%0, %1) {along = S.0, carry = 1} : float[], float[S.0]
      region (%2 : int[], %3 : float[], %4 : float[]) {
        %5 = tanh(%3) : float[]
        result %4, %5
      }
    %8 = expand[K.1](%6) : float[K.1]
    result %8 [K.1]
    result %7 [S.0]
  }
"""

STEP_IN_A_BRANCH = """  variant (%0 "x" : float[S.0] order S.0) {
    %4 = scan() {along = S.0, carry = 0} : int[S.0]
      region (%1 : int[]) {
        %2 = const() {dtype = "int", value = 3} : int[]
        %3 = if_train() : int[]
          region {
            result %2
          }
          region {
            result %1
          }
        result %3
      }
    result %4 [S.0]
    result %0 [S.0]
  }
"""

DIVISION_BY_A_SIZE = """  variant (%0 "x" : float[S.0] order S.0) {
    %1 = const() {dtype = "float", value = 1.0} : float[]
    %2 = size() {size = <S - 1>} : int[]
    %3 = divide(%1, %2) : float[]
    %4 = multiply(%0, %3) : float[S.0]
    %5 = size() {size = <S + 1>} : int[]
    %6 = const() {dtype = "int", value = 2} : int[]
    %7 "half" = divide(%5, %6) : float[]
    %8 = rsqrt(%5) : float[]
    result %4 [S.0]
    result %7 []
    result %8 []
  }
"""

NUMBERS_OF_A_BRANCH = """  variant (%0 "x" : float[S.0] order S.0) {
    %5 "n" = if_train() : float[]
      region {
        %1 = const() {dtype = "float", value = 0.5} : float[]
        result %1
      }
      region {
        %2 = const() {dtype = "float", value = 1.5} : float[]
        result %2
      }
    %6 = expand[K.1](%5) : float[K.1]
    %7 = const() {dtype = "bool", value = true} : bool[]
    %8 = logical_not(%7) : bool[]
    result %6 [K.1]
    result %8 []
    result %0 [S.0]
  }
"""

NAMES = """  variant (%0 "x" : float[S.0, K.1] order S.0 K.1, %1 "h" : float[K.1] order K.1) {
    %2 "scores:exp" = exp(%0) : float[S.0, K.1]
    %3 "scores" = tanh(%2) : float[S.0, K.1]
    %4 "weights:less" = less(%3, %0) : bool[S.0, K.1]
    %5 "weights" = softmax[S.0](%2, %4) {extra = ("where",)} : float[S.0, K.1]
    %10 "last", %11 "all" = scan(%5, %1) {along = S.0, carry = 1} : float[K.1], float[S.0, K.1]
      region (%6 : int[], %7 "x.2" : float[K.1], %8 "h.2" : float[K.1]) {
        %9 "y" = multiply(%7, %8) : float[K.1]
        result %9, %9
      }
    %12 = logical_not(%4) : bool[S.0, K.1]
    result %10 [K.1]
    result %11 [S.0, K.1]
    result %12 [S.0, K.1]
    result %3 [S.0, K.1]
  }
"""

EACH = """module "Net" model
  model ""
  free S

instance "" Net
  dims N.0 = 2, S.1 = S, D.2 = 3, E.3 = 2
  child "experts" each N.0
  variant (%0 "x" : float[S.1, D.2] order S.1 D.2, %1 "n" : int[N.0, E.3] order N.0 E.3) {
    %2 = each(%0, %1) {along = N.0, binding = ((0, S.1), (1, D.2), (2, E.3)), child = "experts", dealt = (1,), occurrence = 0, variant = 0} : float[N.0, S.1]
    result %2 [N.0, S.1]
  }

instance "experts" Experts
  dims S.0 = S, D.1 = 3, E.2 = 2
  param "w" : float[E.2, D.1] = {
    %0 = lecun_normal[E.2, D.1]() {fan_in = (D.1,), fan_out = (), salt = 1} : float[D.1, E.2]
    result %0
  }
  variant (%0 "x" : float[S.0, D.1] order S.0 D.1, %1 "n" : int[E.2] order E.2) {
    %2 = param() {child = "", name = "w"} : float[D.1, E.2] order E.2 D.1
    %3 = abs(%1) : int[E.2]
    %4 = ragged_dot[S.0, E.2, D.1](%0, %2, %3) : float[S.0]
    result %4 [S.0]
  }
"""  # noqa: E501


def program(body: str, size: int) -> Program:
    return Program(parse(HEAD + body), {"S": size}, False)


def source(body: str) -> str:
    *_, (_, done) = steps(parse(HEAD + body), DOUBLE)
    return emit(done, DOUBLE).text


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "body", [CARRIED_NUMBER, STEP_IN_A_BRANCH, DIVISION_BY_A_SIZE, NUMBERS_OF_A_BRANCH, NAMES]
)
def test_corner(body, size):
    check(program(body, size))


def test_a_mask_does_not_get_the_name_of_what_it_hides():
    text = source(NAMES)
    assert "mask = scores < x" in text
    assert "weights = jax.nn.softmax(" in text and "where=mask" in text


def test_a_step_may_hide_names_that_it_does_not_read():
    text = source(NAMES)
    assert "def step(h, x):" in text


def test_numbers_are_divided_as_arrays():
    """Python would raise where a size is 0."""
    assert "jnp.asarray(1.0, jnp.float64) / (S - 1)" in source(DIVISION_BY_A_SIZE)


def test_letters_of_short_names_are_their_own():
    dims = [Dim(i, name, Size.of(2)) for i, name in enumerate(("S2", "B", "S", "b"))]
    assert [letters(dims)[d] for d in dims] == ["S", "b", "s", "B"]


def test_what_jax_cannot_map_is_done_copy_by_copy():
    module = parse(EACH)
    *_, (_, done) = steps(module, DOUBLE)
    text = emit(done, DOUBLE).text
    assert "lax.map(" in text and "vmap(experts" not in text
    check(Program(module, {"S": 3}, False), gradients=True)
