"""Models written in both notations give the same module."""

from __future__ import annotations

from pathlib import Path

import netwright as nw
import pytest
from netwright.frontend.builder.assembly import Assembly
from netwright.frontend.constants import LayerRef
from netwright.frontend.elaborate import _root
from netwright.frontend.names import LIBRARY, load
from netwright.frontend.shared import Elaboration
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.text import show_instance
from twins import built, difference, module_at, translated

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
BY_HAND = {
    "mlp": ("mlp/model.nw", "digit"),
    "digits": ("digits/model.nw", "digit"),
    "pronounce": ("pronounce/model.nw", "sounds"),
    "shakespeare": ("shakespeare/model.nw", "next_token"),
    "gpt2": ("gallery/gpt2.nw", "next_token"),
    "lm1b": ("flax/lm1b.nw", "next_token"),
}
FILES = sorted(p for p in EXAMPLES.rglob("*.nw") if p.stem != "train")
CHAPTERS = sorted(p.stem for p in LIBRARY.glob("*.nw"))


def test_every_example_in_python_has_its_twin():
    assert {p.stem for p in (EXAMPLES / "python").glob("*.py")} == set(BY_HAND)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_model_written_by_hand_gives_the_same_module(name):
    path, entry = BY_HAND[name]
    written = nw.load(EXAMPLES / path)
    made = nw.load(getattr(module_at(EXAMPLES / "python" / f"{name}.py"), entry))
    assert difference(written.module, made.module) == ""
    requirements = [[line.partition(" (")[0] for line in m.check()] for m in (made, written)]
    assert requirements[0] == requirements[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_a_model_that_the_printer_translates_gives_the_same_module(path, tmp_path):
    module = nw.load(path).module
    for beside in path.parent.glob("*.nw"):
        (tmp_path / beside.name).write_text(beside.read_text())
    done = translated(tmp_path / path.name, tmp_path)
    assert difference(module, built(done, module.name)) == ""


def _alone(file, key: str) -> tuple[list[str], list[str]]:
    """A layer over free dims, as text, and the codes of its mistakes."""
    diagnostics = Diagnostics()
    shared = Elaboration(diagnostics, file, {})
    _root(shared, LayerRef(file.layers[key], file), alone=True)
    lines = [line for i in shared.instances for line in show_instance(i.build(), places=False)]
    return lines, [d.code for d in diagnostics.found]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_layers_of_the_library_translated_are_the_same(chapter, tmp_path):
    file = load(LIBRARY / f"{chapter}.nw", Diagnostics())
    path = tmp_path / f"{chapter}.nw"
    path.write_text((LIBRARY / f"{chapter}.nw").read_text())
    module = module_at(translated(path, tmp_path))
    compared = 0
    for name, layer in file.layers.items():
        if any(a.type is None and a.default is None for a in layer.arguments):
            continue
        assembly = Assembly(Diagnostics(), getattr(module, name), frozenset())
        main = assembly.file(getattr(module, name))
        key = main.key(getattr(module, name).defaults())
        assembly.run()
        for one in assembly.files.values():
            one.finish(set(), {}, main)
        assert _alone(main.made, key) == _alone(file, name), name
        compared += 1
    assert compared or chapter == "transformer"
