"""Nothing that a person writes into a model, recipe or plan reaches Python's evaluator.

Hostile texts are put wherever a text may stand; the emitted program is then read as Python reads
it: what it imports, what it calls, what its strings and docstrings say. The canary is a file that
would be made.
"""

from __future__ import annotations

import ast
import builtins
import json
import keyword
import re
import subprocess
import sys
from pathlib import Path

import pytest
from netwright import driver
from netwright.frontend.lexer import KEYWORDS
from netwright.ir.diagnostics import InputError, render
from programs import ROOT, environment

PACKAGES = ("api", "backend", "frontend", "ir", "passes", "runtime")
CANARY = "netwright_canary"
RUN = f"open('{CANARY}', 'w')"

TEXTS = [
    f'"""; {RUN}; """',
    f"'''); {RUN} #",
    f'" + {RUN} + "',
    f'\\"""\n{RUN}\n',
    "ends with a backslash \\",
    'ends with quotes ""',
    'all "" of """ them """" here """""',
    "\\" * 181 + "N{no such name} \\x \\u12 \\777",
    "word " * 40 + "\\N{dash} " * 30,
    f"{{{RUN}}} %s %(x)s {{0}} f'{{x}}'",
    f"line\u2028{RUN}\u2029{RUN}\x85{RUN}\x0c{RUN}\x0b{RUN}",
    "bidi \u202e\u2066 \u200b zero \ufeff width, homoglyph іmport оs \uff4fpen",
    f"tab\there\r{RUN}\r\n{RUN}",
    "emoji \U0001f600 and \x7f \x1b[31m",
    f"#!{RUN}",
    "# -*- coding: utf-7 -*- +ACIAIgAi-",
]
FORBIDDEN = frozenset(dir(builtins)) - {
    *("range", "len", "max", "min", "sum", "zip", "dict", "tuple", "slice", "list", "enumerate"),
    *("isinstance", "float", "int", "bool", "any", "all", "reversed", "__name__"),
}
IMPORTS = {
    "model": {
        *("jax", "jax.numpy", "jax.lax", "jax.random", "jax.ad_checkpoint.checkpoint_name"),
        "jax.sharding.PartitionSpec",
    },
    "train": {
        *("sys", "pathlib.Path", "jax", "optax", "model"),
        *("runtime.Job", "runtime.data", "runtime.main", "runtime.Mesh"),
    },
}  # fmt: skip

# Every name that means something to Python or to an emitted program, unless the language has it.
WORDS = """
jax jnp lax random P params state key np math os sys self cls batch metrics model main data Job HERE
JOB optax init_params init_state predict fold joined stacked checkpoint_name carry match case type
__import__ __builtins__ __name__ __class__ __file__ NotImplemented Ellipsis Exception
"""
HOSTILE = [
    name
    for name in dict.fromkeys([*WORDS.split(), *dir(builtins)])
    if name not in KEYWORDS and not keyword.iskeyword(name) and name != "_"
]


def model(texts: dict[str, str] | None = None) -> str:
    """A model with a docstring in each place that takes one."""
    said = {"file": "", "layer": "", "loss": "", **(texts or {})}
    return f'''"""{said["file"]}"""
dims:
    B   # {said["file"].splitlines()[0] if said["file"] else ""}
    D = 3
layer Twice[D](x: [..., D]) -> [..., D]:
    """{said["layer"]}"""
    param w: [D] = ones()
    return 2 * x * w
loss main(x: [B, D]):
    """{said["loss"]}"""
    use twice = Twice
    metric size = mean[B, D](x)
    return mean[B, D](twice(x))
'''


RECIPE = """
name = {name}
[data]
kind = "arrays"
file = {file}
held_out = 1
fields = {{ {field} = {array} }}
[train]
steps = 1
batch = 2
[optimizer]
name = "sgd"
learning_rate = 0.1
"""


def project(folder: Path, source: str, *, name="x", file="data.npz", field="x", array="x") -> Path:
    """A folder with a model, a recipe and data."""
    import numpy as np

    folder.mkdir(parents=True)
    (folder / "model.nw").write_text(source, encoding="utf-8")
    np.savez(folder / "data.npz", **{array: np.ones((5, 3), np.float32)})
    if file != "data.npz":
        (folder / "data.npz").rename(folder / file)
    recipe = RECIPE.format(name=toml(name), file=toml(file), field=toml(field), array=toml(array))
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    return folder


def toml(text: str) -> str:
    """Text as TOML writes it."""
    plain = {'"': '\\"', "\\": "\\\\"}
    escaped = (plain.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return '"' + "".join(escaped) + '"'


def emitted(folder: Path) -> tuple[str, str] | list[str]:
    """`model.py` and `train.py` of a folder; the messages if it is refused, which is as good."""
    try:
        files = driver.program_of(folder)
    except InputError as error:
        for diagnostic in error.diagnostics:
            assert render(diagnostic, error.sources)
        return [d.code for d in error.diagnostics]
    inspect(files.model, "model")
    inspect(files.train, "train")
    return files.model, files.train


def inspect(source: str, kind: str) -> ast.Module:
    """Read an emitted file as Python does, and refuse what it has no business with."""
    assert all(c.isprintable() or c == "\n" for c in source), "characters that one cannot see"
    tree = ast.parse(source)
    assert ast.dump(ast.parse(source.encode())) == ast.dump(tree)  # no coding comment is obeyed
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {a.name for a in node.names} <= IMPORTS[kind]
        elif isinstance(node, ast.ImportFrom):
            assert {f"{node.module}.{a.name}" for a in node.names} <= IMPORTS[kind]
        elif isinstance(node, ast.Name):
            assert node.id not in FORBIDDEN, node.id
            assert not node.id.startswith("__") or node.id in ("__file__", "__name__")
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), node.attr
        elif isinstance(node, ast.Call):
            root = node.func
            while isinstance(root, ast.Attribute):
                root = root.value
            assert isinstance(
                root, ast.Name | ast.Call | ast.Subscript | ast.BinOp | ast.Compare
            ), ast.dump(root)
        else:
            assert not isinstance(node, ast.JoinedStr | ast.Await | ast.Global | ast.Nonlocal)
    bound = {
        a.asname or a.name
        for n in ast.walk(tree)
        if isinstance(n, ast.Import | ast.ImportFrom)
        for a in n.names
    }
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    bound |= {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    bound |= {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)
    }
    free = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - bound
    assert free <= {"__file__", "__name__"} | set(dir(builtins)) - FORBIDDEN, free
    return tree


def strings(source: str) -> set[str]:
    return {
        n.value
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


def visible(text: str) -> str:
    """Text as a docstring may show it: what cannot be seen, and all space, is one space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@pytest.mark.parametrize("text", TEXTS)
def test_docstrings_say_what_the_model_says(text, tmp_path):
    text = re.sub('"{3,}', '""', text).rstrip('"')  # three of them end a docstring there, too
    source = model({"file": text, "layer": text, "loss": text})
    folder = project(tmp_path / "project", source)
    written = emitted(folder)
    if isinstance(written, list):
        assert written == ["syntax"] or "control" in str(written), written
        return
    tree = ast.parse(written[0])
    docs = {n.name: ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    paragraph = text.replace("\r", "")
    assert visible(paragraph) in visible(docs["twice"])
    assert visible(paragraph) in visible(docs["main"])


@pytest.mark.parametrize("text", TEXTS)
def test_names_of_files_and_programs(text, tmp_path):
    file = text.replace("/", "∕").replace("\0", "")[:60] + ".npz"
    folder = project(tmp_path / text.replace("/", "∕")[:80], model(), name=text, file=file)
    written = emitted(folder)
    if isinstance(written, list):
        return
    assert file in strings(written[1])
    assert any(visible(text) in visible(s) for s in strings(written[1]))


@pytest.mark.parametrize("text", TEXTS)
def test_fields_of_recipes(text, tmp_path):
    written = emitted(project(tmp_path / "a", model(), array=text.replace("/", "∕")))
    if not isinstance(written, list):
        assert text.replace("/", "∕") in strings(written[1])
    assert isinstance(emitted(project(tmp_path / "b", model(), field=text)), list)


@pytest.mark.parametrize(
    "line",
    [
        "[mesh]\naxes = {{ {0} = 2 }}",
        "[optimizer]\nname = {0}",
        '[optimizer]\nname = "sgd"\n{0} = 1',
        "[schedule]\nname = {0}",
        "[precision]\npolicy = {0}",
        "[data]\nkind = {0}",
        "[{0}]\nx = 1",
        "{0} = 1",
    ],
)
def test_other_strings_of_recipes_are_known_words(line, tmp_path):
    for number, text in enumerate(TEXTS):
        folder = project(tmp_path / str(number), model())
        path = folder / "recipe.toml"
        kept = path.read_text()
        if line.startswith("["):
            head = line.split("]")[0] + "]"
            kept = kept.split(head)[0] if head in kept else kept
        path.write_text(kept + "\n" + line.format(toml(text)) + "\n", encoding="utf-8")
        assert isinstance(emitted(folder), list)


def lines_with_names(name: str, layer: str) -> str:
    """A model in which a name stands wherever one may."""
    lower = name if name[0].islower() or name[0] == "_" else name.lower()
    upper = "D" if lower == name or layer == name else name
    return f"""
dims:
    B
    {upper} = 3
const:
    {lower}_ = 1.5
layer {layer}[{upper}](x: [..., {upper}], {lower}_option = 2.0) -> [..., {upper}]:
    param {lower}: [{upper}] = ones()
    state {lower}_2: [{upper}] = zeros()
    if train:
        {lower}_2 <- {lower}_2 + 1
    return x * {lower} + {lower}_2
loss root({lower}: [B, {upper}]):
    use {lower}_3 = {layer}
    {lower}_4 = {lower}_3({lower}) * {lower}_
    metric {lower} = mean[B, {upper}]({lower}_4)
    return mean[B, {upper}]({lower}_4 * exp({lower}_4))
"""


@pytest.mark.parametrize("start", range(0, len(HOSTILE), 40))
def test_names_that_mean_something(start, tmp_path):
    """Emitted programs keep such names apart from their own, and still compute the same."""
    import jax
    import numpy as np

    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    taken = 0
    for number, name in enumerate(HOSTILE[start : start + 40]):
        lower = name if name[0].islower() or name[0] == "_" else name.lower()
        layer = name if number % 2 or name == lower else "Layer"
        source = lines_with_names(name, layer)
        folder = project(tmp_path / str(number), source, field=lower)
        written = emitted(folder)
        if isinstance(written, list):
            refused = keyword.iskeyword(lower) or lower in KEYWORDS or name.startswith("__")
            assert refused, (name, written)
            continue
        taken += 1
        if number % 8:
            continue
        space: dict = {}
        exec(compile(written[0], "model.py", "exec"), space)  # it was inspected
        params, state = space["init_params"](jax.random.key(0)), space["init_state"]()
        value = space["loss"](params, state, {lower: x}, jax.random.key(0), False)[0]
        np.testing.assert_allclose(value, (1.5 * x * np.exp(1.5 * x)).mean(), rtol=1e-5)
    assert taken


@pytest.mark.parametrize(
    "value, fine",
    [
        ("1e400", False),
        ("inf", False),
        ("nan", False),
        ("1" * 30, False),
        ("9" * 4500, False),
        ("-0.0", True),
        ("1e308 * 10", None),
        ("0.0 / 0.0", None),
        ("2 ** 200", None),
        ("2 ** 2 ** 2 ** 2 ** 2 ** 2", None),
        ("1e-320", True),
        ("0x10", False),
        ("1j", False),
        ("True", False),
        ("__import__", False),
    ],
)
def test_constants(value, fine, tmp_path):
    source = (
        model()
        .replace("D = 3\n", "D = 3\nconst: c = " + value + "\n", 1)
        .replace("2 * x * w", "c * x * w")
    )
    written = emitted(project(tmp_path / "project", source))
    if fine is not None:
        assert isinstance(written, tuple) == fine, written


def test_keys_of_plans(tmp_path):
    folder = project(tmp_path / "project", model())
    plan = json.loads(driver.program_of(folder).plan)
    path = tmp_path / "plan.json"
    for text in TEXTS:
        for section in plan:
            if isinstance(plan[section], dict):
                changed = {**plan, section: {**plan[section], text: text}}
            else:
                changed = {**plan, section: text}
            path.write_text(json.dumps(changed))
            try:
                files = driver.program_of(folder, plan_file=path)
            except InputError as error:
                assert error.diagnostics
                continue
            inspect(files.model, "model")
            inspect(files.train, "train")


@pytest.mark.slow
def test_the_canary_never_runs(tmp_path):
    """Programs made of hostile texts are started; nothing in them is."""
    for number, text in enumerate(TEXTS):
        safe = re.sub('"{3,}', '""', text).rstrip('"').replace("/", "∕")
        folder = project(tmp_path / str(number), model({"layer": safe}), name=text, array=safe)
        try:
            files = driver.program_of(folder)
        except InputError:
            continue
        from netwright.backend.program import write_program

        out = tmp_path / f"out{number}"
        write_program(files, out)
        done = subprocess.run(
            [sys.executable, "train.py", "--steps", "1"], cwd=out, env=environment(),
            capture_output=True, text=True,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.rglob(CANARY)) and not Path(CANARY).exists()


CHILD = (
    "pickle_child.py"  # a script: what it unpickles are arrays and nothing else, see tests/formats
)


def _is_numpy_s(function: ast.expr) -> bool:
    """Whether a function is one of numpy's that reads or writes arrays."""
    return isinstance(function, ast.Attribute) and function.attr in (
        "load", "save", "savez", "read_array", "write_array", "open_memmap",
    )  # fmt: skip


def _is_false(keyword: ast.keyword) -> bool:
    return isinstance(keyword.value, ast.Constant) and keyword.value.value is False


def test_no_package_evaluates_text():
    """None of ours evaluates text or unpickles; but the builder reads its caller's annotations."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.Name) and node.id in (
                    "eval",
                    "exec",
                    "compile",
                    "__import__",
                ):
                    found.append((str(path.relative_to(ROOT)), node.id))
                elif isinstance(node, ast.Import | ast.ImportFrom) and path.name != CHILD:
                    names = {a.name for a in node.names} | {getattr(node, "module", "")}
                    bad = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "code", "codeop"}
                    assert not names & bad, place
                elif isinstance(node, ast.Call) and _is_numpy_s(node.func):
                    assert all(_is_false(k) for k in node.keywords if k.arg == "allow_pickle"), (
                        place
                    )
                elif isinstance(node, ast.keyword) and node.arg == "shell":
                    raise AssertionError(place)
    assert set(found) <= {("frontend/builder/signature.py", "eval")}
