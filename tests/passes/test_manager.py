"""The pass manager: facts, records, printing, and files that reproduce a failure."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from netwright.ir.diagnostics import Diagnostic, InputError
from netwright.ir.plan import Plan
from netwright.ir.rewrite import rewrite
from netwright.ir.text import parse, show
from netwright.passes.manager import (
    PASSES,
    Pass,
    PassError,
    Pipeline,
    ReplayError,
    load_passes,
    read_reproducer,
    replay,
)
from netwright.passes.simplify import Simplify

MODULE = parse(
    """
module "m" model
  free B

instance "" M
  dims B.0 = B
  variant (%0 "x" : float[B.0] order B.0) {
    %1 = const() {dtype = "float", value = 1.0} : float[]
    %2 "y" = multiply(%0, %1) : float[B.0]
    %3 "z" = negate(%2) : float[B.0]
    result %3 [B.0]
  }
"""
)
PLAN = Plan(sizes=(("B", 3),))


@dataclass
class Break(Pass):
    """Breaks what it is told to, or raises."""

    name: ClassVar[str] = "break-for-tests"
    what: tuple[str, ...] = ("label",)

    def run(self, module, plan):
        if "raise" in self.what:
            raise RuntimeError("it broke")
        if "input" in self.what:
            raise InputError([Diagnostic("a-mistake", "the person's")])
        if "label" in self.what:
            return parse(show(module).replace('"z"', '"x"'))
        return rewrite(module, lambda scope, op: None)


@dataclass
class Needs(Pass):
    """Needs a fact that `Simplify` gives, and breaks it."""

    name: ClassVar[str] = "needs-for-tests"
    requires: ClassVar[tuple[str, ...]] = ("simplified",)
    breaks: ClassVar[tuple[str, ...]] = ("simplified",)

    def run(self, module, plan):
        self.count("things", 2)
        return module


def failure(passes, tmp_path, module=MODULE) -> PassError:
    with pytest.raises(PassError) as caught:
        Pipeline(passes, directory=str(tmp_path)).run(module, PLAN)
    return caught.value


def test_facts_come_and_go():
    after = Pipeline([Simplify()]).run(MODULE, PLAN)
    assert after.facts == ("simplified",)
    assert Pipeline([Simplify(), Needs()]).run(MODULE, PLAN).facts == ()


def test_records_say_what_was_done():
    pipeline = Pipeline([Simplify(), Needs()])
    pipeline.run(MODULE, PLAN)
    first, second = pipeline.records
    assert (first.name, first.ops_before, first.ops_after, first.changed) == (
        "simplify",
        3,
        1,
        ("",),
    )
    assert first.statistics["neutral operand"] == 1
    assert second.statistics == {"things": 2}
    assert second.changed == ()
    assert str(second).startswith("needs-for-tests: 1 → 1 ops, 0 instances changed, 2 things, ")
    pipeline.run(MODULE, PLAN)
    assert pipeline.records[1].statistics == {"things": 2}


def test_what_changed_is_printed_when_asked():
    stream = io.StringIO()
    Pipeline([Simplify(), Needs()]).run(MODULE, PLAN, print_after=["simplify"], stream=stream)
    text = stream.getvalue()
    assert text.startswith("# after simplify: 3 → 1 ops")
    assert '%1 "z" = negate(%0)' in text
    assert "needs" not in text


def test_a_missing_fact_is_an_internal_error(tmp_path):
    error = failure([Needs()], tmp_path)
    assert "requires the fact simplified" in str(error)


def test_a_violation_is_an_internal_error(tmp_path):
    error = failure([Simplify(), Break()], tmp_path)
    assert error.failed == "break-for-tests"
    assert [v.rule for v in error.violations] == ["labels"]
    assert "the label 'x' is taken" in str(error)


def test_a_false_fact_is_a_violation(tmp_path):
    error = failure([], tmp_path, replace(MODULE, facts=("specialised", "precise")))
    assert error.failed == "input"
    assert {v.rule for v in error.violations} == {"precise"}


def test_a_mistake_of_the_person_goes_through(tmp_path):
    with pytest.raises(InputError, match="the person's"):
        Pipeline([Break(("input",))], directory=str(tmp_path)).run(MODULE, PLAN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["raise", "label"])
def test_failure_reproducer(what, tmp_path):
    """A failing pass leaves a file that fails in the same way, with the same options and plan."""
    error = failure([Simplify(), Break((what,)), Needs()], tmp_path)
    (file,) = map(str, tmp_path.iterdir())
    assert error.file == file
    assert f"netwright replay {file}" in str(error)
    if what == "raise":
        assert isinstance(error.__cause__, RuntimeError)
        assert "RuntimeError: it broke" in str(error)
    with open(file, encoding="utf-8") as stream:
        module, plan, passes = read_reproducer(stream.read())
    assert module == Pipeline([Simplify()]).run(MODULE, PLAN)
    assert plan == PLAN
    assert passes == (Break((what,)), Needs())
    with pytest.raises(PassError) as again:
        replay(file)
    assert str(again.value) == str(error)
    assert list(map(str, tmp_path.iterdir())) == [file]


def test_a_file_whose_bug_is_gone_replays(tmp_path):
    failure([Simplify(), Break(), Needs()], tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text("utf-8").replace('["label"]', '["nothing"]'), "utf-8")
    assert replay(str(file)) == Pipeline([Simplify(), Needs()]).run(MODULE, PLAN)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("=== plan", "=== plans", "it must have the parts"),
        ('"name": "break-for-tests"', '"name": "os.system"', "no pass called 'os.system'"),
        ('"what"', '"which"', "unexpected keyword"),
        ('module "m"', "nodule", "expected module"),
        ('"format": 1', '"format": 9', "format 1 is understood"),
    ],
)
def test_a_file_that_is_none_is_refused(old, new, message, tmp_path):
    failure([Break()], tmp_path)
    (file,) = tmp_path.iterdir()
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ReplayError, match=message):
        replay(str(file))


def test_a_file_that_cannot_be_written_does_not_hide_the_failure(tmp_path):
    error = failure([Break()], tmp_path / "nowhere")
    assert error.file is None
    assert "the label 'x' is taken" in str(error)


def test_passes_are_found_by_name():
    load_passes()
    assert {"check", "bind", "simplify", "specialise"} <= set(PASSES)
    for name, cls in PASSES.items():
        assert cls.name == name
        assert cls.__doc__
