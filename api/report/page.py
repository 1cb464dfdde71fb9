"""Puts facts into the page: one HTML file without links, which opens anywhere and sends nothing.

The facts stand in it as JSON, and the page's script draws from them; text of a model reaches the
page as text only, never as markup or script.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def page(facts: Mapping[str, Any]) -> str:
    """The page for facts as `report.facts` gathers them."""
    parts = {
        "title": html.escape(f"{facts['title']}: memory plan"),
        "style": _read("page.css"),
        "script": _read("page.js"),
        "facts": _inert(json.dumps(facts, ensure_ascii=False, allow_nan=False)),
    }
    # In one pass: a name of a model that looks like a mark is none.
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _read("page.html"))


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").rstrip("\n")


def _inert(text: str) -> str:
    """JSON in which nothing can end the script element that it stands in."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
