"""Plans as JSON: one line for each decision, checked by hand when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from .diagnostics import Diagnostics, InputError, Span, nearest
from .plan import FORMAT, SECTIONS, Decision, Decisions, Mesh, Plan, Precision, Rule, by_path


def to_json(plan: Plan) -> str:
    """The text of a plan: sections in the order of the type, keys in the order of the tree."""
    sections: dict[str, object] = {"format": FORMAT}
    sections |= {"model": plan.model, "recipe": plan.recipe, "sizes": dict(plan.sizes)}
    sections["mesh"] = {
        "axes": dict(plan.mesh.axes),
        "values": _rules_json(plan.mesh.values),
        "params": _rules_json(plan.mesh.params),
        "overrides": _decisions_json(plan.mesh.overrides),
    }
    sections["microbatches"] = plan.microbatches
    sections["precision"] = {
        "policy": plan.precision.policy,
        "overrides": _decisions_json(plan.precision.overrides),
    }
    for name in ("roll", "groups", "shard", "remat", "loss_chunks", "layout"):
        sections[name] = _decisions_json(getattr(plan, name))
    return _written(sections, "", 2) + "\n"


def _rules_json(rules: tuple[Rule, ...]) -> dict[str, object]:
    return {dim: list(axes) for dim, axes in rules}


def _decisions_json(decisions: Decisions) -> dict[str, object]:
    found: dict[str, object] = {}
    for d in sorted(decisions, key=lambda d: by_path(d.key)):
        choice = _rules_json(d.choice) if isinstance(d.choice, tuple) else d.choice
        said = {"choice": choice, "reason": d.reason, "place": d.place}
        found[d.key] = {k: v for k, v in said.items() if v != ""}
    return found


def _written(value: object, indent: str, depth: int) -> str:
    """Objects over several lines down to the given depth, one to a line below that."""
    nested = isinstance(value, dict) and any(isinstance(v, dict) for v in value.values())
    if not isinstance(value, dict) or not value or (depth < 2 and not nested):
        return json.dumps(value, ensure_ascii=False)
    if depth == 0:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    rows = [
        f"{inner}{json.dumps(k, ensure_ascii=False)}: {_written(v, inner, _depth(v, depth))}"
        for k, v in value.items()
    ]
    return "{\n" + ",\n".join(rows) + "\n" + indent + "}"


def _depth(value: object, depth: int) -> int:
    # A decision is one line, whatever it holds.
    return 0 if isinstance(value, dict) and "choice" in value else max(depth - 1, 1)


# Reading


def from_json(text: str, file: str) -> Plan:
    """The plan that a text holds.

    Raises:
        InputError: with every independent mistake in it.
    """
    reader = _Reader(text, file)
    plan = reader.plan()
    reader.found.raise_errors()
    return plan


class _Reader:
    """Reads the sections one by one; a section that is wrong is reported and left as by default."""

    def __init__(self, text: str, file: str):
        self.text, self.file = text, file
        self.found = Diagnostics({file: text})

    def plan(self) -> Plan:
        tree = self.tree()
        if not isinstance(tree, dict):
            self.error((), "a plan is an object, between { and }")
            return Plan()
        if tree.get("format") != FORMAT:
            said = json.dumps(tree.get("format"))
            self.error(("format",), f"format {FORMAT} is understood, not {said}", "plan-format")
            return Plan()
        known = ["format", *(f.name for f in fields(Plan))]
        self.known(tree, (), known)
        plan = Plan(
            model=self.text_at(tree, ("model",)),
            recipe=self.text_at(tree, ("recipe",)),
            sizes=self.counts(tree.get("sizes", {}), ("sizes",)),
            mesh=self.mesh(tree.get("mesh", {})),
            precision=self.precision(tree.get("precision", {})),
            microbatches=self.positive(tree.get("microbatches", 1), ("microbatches",)),
        )
        for name in SECTIONS:
            if "." not in name:
                made: Any = self.decisions(tree.get(name, {}), (name,))
                plan = replace(plan, **{name: made})
        return plan

    def mesh(self, tree: object) -> Mesh:
        at = ("mesh",)
        if not self.is_object(tree, at):
            return Mesh()
        assert isinstance(tree, dict)
        self.known(tree, at, [f.name for f in fields(Mesh)])
        return Mesh(
            self.counts(tree.get("axes", {}), (*at, "axes")),
            self.rules(tree.get("values", {}), (*at, "values")),
            self.rules(tree.get("params", {}), (*at, "params")),
            self.decisions(tree.get("overrides", {}), (*at, "overrides")),
        )

    def precision(self, tree: object) -> Precision:
        at = ("precision",)
        if not self.is_object(tree, at):
            return Precision()
        assert isinstance(tree, dict)
        self.known(tree, at, [f.name for f in fields(Precision)])
        policy = self.text_at(tree, (*at, "policy"), Precision().policy)
        return Precision(policy, self.decisions(tree.get("overrides", {}), (*at, "overrides")))

    # Parts

    def tree(self) -> object:
        def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
            names = [name for name, _ in items]
            for name in dict.fromkeys(n for n in names if names.count(n) > 1):
                self.error((name,), f'"{name}" is there twice', "plan-key-twice", last=True)
            return dict(items)

        def constant(word: str) -> object:
            raise ValueError(f"{word} is not JSON")

        try:
            return json.loads(self.text, object_pairs_hook=pairs, parse_constant=constant)
        except json.JSONDecodeError as error:
            span = Span(self.file, error.lineno, error.colno, error.lineno, error.colno + 1)
            self.found.error("plan-json", f"this is not JSON: {error.msg}", span)
        except (ValueError, RecursionError) as error:
            self.found.error("plan-json", f"this is not JSON: {error or 'nested too deeply'}")
        raise InputError(self.found.errors, self.found.sources)

    def known(self, tree: dict, at: tuple[str, ...], names: list[str]) -> None:
        for name in tree:
            if name not in names:
                close = nearest(name, names)
                self.error(
                    (*at, name),
                    f'nothing in {_at(at)} is called "{name}"',
                    "plan-key",
                    f"did you mean {close[0]}?" if close else f"it may have {', '.join(names)}",
                )

    def is_object(self, value: object, at: tuple[str, ...]) -> bool:
        if isinstance(value, dict):
            return True
        self.wrong(at, value, "an object")
        return False

    def text_at(self, tree: dict, at: tuple[str, ...], default: str = "") -> str:
        value = tree.get(at[-1], default)
        if isinstance(value, str):
            return value
        self.wrong(at, value, "a string")
        return default

    def positive(self, value: object, at: tuple[str, ...]) -> int:
        if type(value) is int and value >= 1:
            return value
        self.wrong(at, value, "a whole number of at least 1")
        return 1

    def counts(self, value: object, at: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        if not self.is_object(value, at):
            return ()
        assert isinstance(value, dict)
        return tuple((name, self.positive(v, (*at, name))) for name, v in value.items())

    def rules(self, value: object, at: tuple[str, ...]) -> tuple[Rule, ...]:
        if not self.is_object(value, at):
            return ()
        assert isinstance(value, dict)
        made = []
        for dim, axes in value.items():
            axes = [axes] if isinstance(axes, str) else axes
            if isinstance(axes, list) and all(isinstance(a, str) for a in axes):
                made.append((dim, tuple(axes)))
            else:
                self.wrong((*at, dim), axes, "a list of mesh axes")
        return tuple(made)

    def decisions(self, value: object, at: tuple[str, ...]) -> Decisions:
        if not self.is_object(value, at):
            return ()
        assert isinstance(value, dict)
        choose = self.chooser(SECTIONS[".".join(at)][0])
        made = []
        for key, entry in value.items():
            here = (*at, key)
            # A choice may stand by itself; a person need not write reasons.
            if not isinstance(entry, dict) or "choice" not in entry:
                entry = {"choice": entry}
            self.known(entry, here, [f.name for f in fields(Decision) if f.name != "key"])
            choice = choose(entry["choice"], (*here, "choice"))
            reason, place = (self.text_at(entry, (*here, n)) for n in ("reason", "place"))
            if choice is not None:
                made.append(Decision(key, choice, reason, place))
        return tuple(sorted(made, key=lambda d: by_path(d.key)))

    def chooser(self, kind: str) -> Callable:
        if kind == "rules":
            return self.rules
        if kind == "count":
            return self.positive

        def word(value: object, at: tuple[str, ...]) -> str | None:
            words = kind.split()
            if isinstance(value, str) and (kind in ("precision", "text") or value in words):
                return value
            wanted = "a string" if kind in ("precision", "text") else "one of " + ", ".join(words)
            close = nearest(value, words) if isinstance(value, str) else []
            self.wrong(at, value, wanted, f"did you mean {close[0]}?" if close else "")
            return None

        return word

    # Messages

    def wrong(self, at: tuple[str, ...], value: object, wanted: str, help: str = "") -> None:
        shown = json.dumps(value, ensure_ascii=False)
        shown = shown if len(shown) <= 40 else shown[:37] + "…"
        self.error(at, f"{_at(at)} is {wanted}, not {shown}", "plan-value", help)

    def error(
        self,
        at: tuple[str, ...],
        message: str,
        code: str = "plan-value",
        help: str = "",
        last=False,
    ) -> None:
        self.found.error(code, message, self.span(at, last), help=help)

    def span(self, at: tuple[str, ...], last: bool = False) -> Span | None:
        """The place of a key: each of the keys on the way is searched for after the one before."""
        position, length = -1, 0
        for key in at:
            quoted = json.dumps(key, ensure_ascii=False)
            find = self.text.rfind if last else self.text.find
            found = find(quoted, max(position, 0))
            if found >= 0:
                position, length = found, len(quoted)
        if position < 0:
            return None
        line = self.text.count("\n", 0, position) + 1
        column = position - (self.text.rfind("\n", 0, position) + 1) + 1
        return Span(self.file, line, column, line, column + length)


def _at(at: tuple[str, ...]) -> str:
    return ".".join(p if p.replace("_", "").isalnum() else f'"{p}"' for p in at) or "the plan"
