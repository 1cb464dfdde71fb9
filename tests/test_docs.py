"""What the documentation names is there, and what it shows works."""

from __future__ import annotations

import re

import netwright as nw
import pytest
from netwright.ir.plan import Plan
from netwright.passes.manager import Pipeline
from programs import EXAMPLES, ROOT

PAGES = sorted(str(p.relative_to(ROOT)) for p in (*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")))
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.S | re.M)
NAMED = re.compile(
    r"`((?:api|backend|docs|examples|frontend|ir|passes|runtime|tests)/[\w./*-]+)[`:]"
)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_names_of_files_lead_somewhere(page):
    path = ROOT / page
    text = path.read_text()
    links = re.findall(r"\]\(((?:https?:|\.\./|[\w-]+[./])[^)\s]*)\)", FENCED.sub("", text))
    missing = [
        link
        for link in links
        if not re.match(r"https?:", link) and not (path.parent / link.partition("#")[0]).exists()
    ]
    missing += [name for name in NAMED.findall(text) if not [*ROOT.glob(name)]]
    assert not missing


def test_the_pass_that_is_shown_runs():
    shown = next(
        code
        for _, language, code in FENCED.findall((ROOT / "docs/adding.md").read_text())
        if language == "python" and "(Pass)" in code
    )
    head = """
from dataclasses import dataclass
from typing import ClassVar

from netwright.ir.core import Module, Op
from netwright.ir.plan import Plan
from netwright.ir.rewrite import Scope, rewrite
from netwright.passes.manager import Pass
"""
    names = {}
    exec(head + shown, names)
    module = nw.load(EXAMPLES / "shakespeare").module
    done = Pipeline([names["Squares"]()]).run(module, Plan())
    assert "power" in {op.name for _, _, op in module.walk()}
    assert "power" not in {op.name for _, _, op in done.walk()}
