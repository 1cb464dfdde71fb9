"""Every registered op, against JAX and numpy. The cases are in the files `test_ops_*.py`."""

from __future__ import annotations

import importlib
from pathlib import Path

from netwright.ir.registry import ShapeError, lookup, matrix, names
from op_cases import CASES, Case, differentiable


def test_every_op_has_a_case():
    for file in sorted(Path(__file__).parent.glob("test_ops_*.py")):
        importlib.import_module(file.stem)
    covered = {case.op for case in CASES}
    missing = [
        name
        for name in names()
        if name not in covered and lookup(name).family not in ("structure", "layout")
    ]
    assert not missing, f"ops without a case: {', '.join(missing)}"


def test_what_every_op_keeps_is_compared():
    compared = {c.op for c in CASES if differentiable(c) and "keeps" not in c.skip}
    left_out = {c.op for c in CASES if c.op not in compared and _may_be_differentiable(c)}
    assert not left_out, f"what they keep is not compared: {', '.join(sorted(left_out))}"


def _may_be_differentiable(case: Case) -> bool:
    """Whether it gives floats where floats are given for all that it takes."""
    types = tuple(t.with_dtype("float") for t in case.types())
    try:
        return bool(types) and any(v.type.kind == "float" for v in case.make(types).results)
    except ShapeError:
        return differentiable(case)


def test_every_op_has_every_facet():
    holes = [
        f"{op}: {f}" for op, row in matrix().items() for f, known in row.items() if known == "no"
    ]
    assert not holes, ", ".join(holes)


def test_every_op_says_how_it_is_written():
    for name in names():
        op = lookup(name)
        assert op.precision in ("product", "wide", "follow"), name
        assert op.doc.endswith((".", "…")), name
        assert op.effect in ("", "random", "metric"), name
