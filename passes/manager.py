"""Runs passes in order: verifies after each, times it, counts what it did, and when one fails
leaves a file that fails again.

A pass declares the facts that it requires, produces and breaks (`ir.facts`). A mistake of a person
is an `InputError` and goes through untouched; whatever else a pass raises, and every violation that
the verifier finds, is a bug of Netwright and becomes a `PassError` that names the file.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, TextIO

from ..ir.core import Module
from ..ir.diagnostics import InputError

# What only running passes needs is imported where it is used: `netwright check` runs none of them.
if TYPE_CHECKING:
    from ..ir.facts import Violation
    from ..ir.plan import Plan

PASSES: dict[str, type[Pass]] = {}
"""Every pass by name; defining a subclass of `Pass` with a name adds it."""


@dataclass
class Pass:
    """One pass. Subclasses are dataclasses whose fields are its options: plain JSON values.

    Attributes:
        name: how it is named in messages and files.
        requires: facts that must hold before.
        produces: facts that hold after.
        breaks: facts that may no longer hold after.
        statistics: what it did, by a few words; the manager clears it before each run.
    """

    name: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    produces: ClassVar[tuple[str, ...]] = ()
    breaks: ClassVar[tuple[str, ...]] = ()
    statistics: dict[str, int] = field(
        default_factory=dict, init=False, repr=False, compare=False, kw_only=True
    )

    def __init_subclass__(cls) -> None:
        if cls.name:
            PASSES[cls.name] = cls

    def run(self, module: Module, plan: Plan) -> Module:
        """The module changed. The manager keeps its facts."""
        raise NotImplementedError

    def count(self, what: str, number: int = 1) -> None:
        """Note that something was done, for the statistics."""
        self.statistics[what] = self.statistics.get(what, 0) + number

    def options(self) -> dict[str, object]:
        """The options by name, as they are written into reproducing files."""
        wanted = [f.name for f in fields(self) if f.init]
        return {name: value for name, value in asdict(self).items() if name in wanted}


@dataclass(frozen=True)
class Record:
    """What one pass did in one run.

    Attributes:
        changed: paths of the instances that it changed, added or removed.
    """

    name: str
    seconds: float
    ops_before: int
    ops_after: int
    changed: tuple[str, ...]
    statistics: dict[str, int]

    def __str__(self) -> str:
        done = "".join(f", {number} {what}" for what, number in sorted(self.statistics.items()))
        return (
            f"{self.name}: {self.ops_before} → {self.ops_after} ops, "
            f"{len(self.changed)} instances changed{done}, {self.seconds * 1000:.1f} ms"
        )


class PassError(Exception):
    """A bug of Netwright: a pass raised an exception, or left something that the verifier refuses.

    Attributes:
        failed: the name of the pass, or `input` for a module that was bad before the first one.
        file: the file that reproduces it; None if it could not be written.
        violations: what the verifier found, if it did.
    """

    def __init__(
        self, failed: str, problem: str, file: str | None, violations: Sequence[Violation] = ()
    ):
        self.failed, self.file, self.violations = failed, file, tuple(violations)
        again = (
            f"\nwritten to {file}\nto see it again: netwright replay {file}"
            if file is not None
            else "\n(no file to reproduce it could be written)"
        )
        super().__init__(f"internal error in the pass {failed}: {problem}{again}")


class Pipeline:
    """Passes in order.

    Attributes:
        records: what each pass of the last run did.
    """

    def __init__(self, passes: Iterable[Pass], *, directory: str | None = None):
        """`directory` is where reproducing files go; by default the one for temporary files."""
        self.passes = tuple(passes)
        self.directory = directory
        self.records: list[Record] = []
        self._file: str | None = None  # the reproducing file that is being replayed

    def run(
        self,
        module: Module,
        plan: Plan,
        *,
        print_after: Iterable[str] = (),
        stream: TextIO | None = None,
    ) -> Module:
        """The module after all passes; `records` then tells what they did.

        Args:
            print_after: names of passes after which what they changed is printed; `all` for each.
            stream: where to; standard error by default.

        Raises:
            InputError: a pass found a mistake in what a person wrote.
            PassError: a pass failed.
        """
        from ..ir.verify import verify

        self.records = []
        wanted = set(print_after)
        out = sys.stderr if stream is None else stream
        violations = verify(module)
        if violations:
            raise self._failure("input", _list(violations), 0, module, plan, violations)
        for index, step in enumerate(self.passes):
            after, record = self._step(index, step, module, plan)
            self.records.append(record)
            if step.name in wanted or "all" in wanted:
                print(f"# after {record}", file=out)
                for path in record.changed:
                    print("\n".join(_shown(after, path)) + "\n", file=out)
            module = after
        return module

    def _step(self, index: int, step: Pass, module: Module, plan: Plan) -> tuple[Module, Record]:
        from ..ir.verify import verify

        missing = [f for f in step.requires if f not in module.facts]
        if missing:
            problem = f"it requires the fact {', '.join(missing)}, which no pass before it gives"
            raise self._failure(step.name, problem, index, module, plan)
        step.statistics.clear()
        start = time.perf_counter()
        try:
            after = step.run(module, plan)
            held = (set(after.facts) - set(step.breaks)) | set(step.produces)
            after = replace(after, facts=tuple(sorted(held)))
            seconds = time.perf_counter() - start
            violations = verify(after)
        except InputError:
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise self._failure(step.name, problem, index, module, plan) from error
        if violations:
            raise self._failure(step.name, _list(violations), index, module, plan, violations)
        statistics = dict(step.statistics)
        record = Record(
            step.name, seconds, count(module), count(after), _changed(module, after), statistics
        )
        return after, record

    def _failure(
        self,
        name: str,
        problem: str,
        index: int,
        module: Module,
        plan: Plan,
        violations: Sequence[Violation] = (),
    ) -> PassError:
        if self._file is not None:
            return PassError(name, problem, self._file, violations)
        try:
            text = reproducer(module, plan, self.passes[index:], name, problem)
            file = _write(text, name, self.directory)
        except Exception:  # what is at hand must not hide what went wrong
            file = None
        return PassError(name, problem, file, violations)


def count(module: Module) -> int:
    """How many ops a module has."""
    return sum(1 for _ in module.walk())


def _changed(before: Module, after: Module) -> tuple[str, ...]:
    old = {i.path: i for i in before.instances}
    new = {i.path: i for i in after.instances}
    return tuple(p for p in dict.fromkeys([*new, *old]) if old.get(p) != new.get(p))


def _shown(module: Module, path: str) -> list[str]:
    from ..ir.text import show_instance

    for instance in module.instances:
        if instance.path == path:
            return show_instance(instance)
    return [f"# {path} is gone"]


def _list(violations: Sequence[Violation]) -> str:
    shown = "".join(f"\n  {v}" for v in violations[:10])
    more = len(violations) - 10
    return (
        "the verifier refuses its result" + shown + (f"\n  … and {more} more" if more > 0 else "")
    )


# Reproducing files

_HEADER = "# A failure of a Netwright pass; `netwright replay FILE` runs it again."
_SECTIONS = ("passes", "plan", "module")


class ReplayError(Exception):
    """A file that is not one that the manager left."""


def reproducer(
    module: Module, plan: Plan, passes: Sequence[Pass], failed: str = "", problem: str = ""
) -> str:
    """The text of a file that runs these passes on this module again."""
    import json

    from ..ir.text import show

    steps = [json.dumps({"name": p.name, "options": p.options()}, sort_keys=True) for p in passes]
    said = [f"# {line}" for line in f"{failed}: {problem}".splitlines()] if failed else []
    parts = ("[\n" + ",\n".join(steps) + "\n]", plan.to_json().strip(), show(module).strip())
    lines = [_HEADER, *said]
    for name, part in zip(_SECTIONS, parts, strict=True):
        lines += [f"=== {name}", part]
    return "\n".join(lines) + "\n"


def _write(text: str, name: str, directory: str | None) -> str:
    import tempfile

    handle, file = tempfile.mkstemp(".txt", f"netwright-{name}-", directory)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    return file


def read_reproducer(text: str) -> tuple[Module, Plan, tuple[Pass, ...]]:
    """What a reproducing file holds; raises `ReplayError`."""
    import json

    from ..ir.plan import Plan
    from ..ir.text import parse

    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        if line.startswith("=== "):
            lines = parts.setdefault(line[4:].strip(), [])
        else:
            lines.append(line)
    if sorted(parts) != sorted(_SECTIONS):
        raise ReplayError(f"it must have the parts {', '.join(_SECTIONS)}, each after `=== name`")
    try:
        module = parse("\n".join(parts["module"]))
        plan = Plan.from_json("\n".join(parts["plan"]))
        steps = [_pass(step) for step in json.loads("\n".join(parts["passes"]))]
    except (InputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReplayError(str(error)) from error
    return module, plan, tuple(steps)


def _pass(step: dict) -> Pass:
    load_passes()
    if step["name"] not in PASSES:
        raise ReplayError(f"there is no pass called {step['name']!r}")
    return PASSES[step["name"]](**{name: _tuples(v) for name, v in step["options"].items()})


def _tuples(value: object) -> object:
    """An option as it was before JSON made lists of its tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def load_passes() -> None:
    """Import every module of this package, so that `PASSES` has all passes."""
    import importlib
    import pkgutil

    package = importlib.import_module(__package__ or "")
    for found in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{found.name}")


def replay(path: str, *, print_after: Iterable[str] = (), stream: TextIO | None = None) -> Module:
    """Run again what a reproducing file holds; fails as it did, unless the bug is gone.

    Raises:
        ReplayError: the file is not one that the manager left.
        PassError: the failure, or another one; it names the same file.
    """
    with open(path, encoding="utf-8") as file:
        module, plan, passes = read_reproducer(file.read())
    pipeline = Pipeline(passes)
    pipeline._file = path
    return pipeline.run(module, plan, print_after=print_after, stream=stream)
