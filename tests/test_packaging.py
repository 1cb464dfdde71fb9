"""The package as it is built, installed and imported: who imports whom, what is loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"api", "frontend", "ir", "passes", "backend", "runtime"}
MAY_IMPORT = {
    "api": FOLDERS,
    "frontend": {"ir"},
    "ir": set(),
    "passes": {"ir"},
    "backend": {"ir"},
    "runtime": set(),
}
HEAVY = ("jax", "numpy", "scipy", "networkx", "optax", "rich")
SHIPPED = ("*.py", "*.nw", "*.lark", "*.html", "py.typed")


def _sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _imported_folders(path: Path) -> set[str]:
    """The folders of ours that a file imports from, relatively or by the package's name."""
    inside = path.relative_to(ROOT).parts
    package = ["netwright", *inside[:-1]] if inside[0] != "api" else ["netwright", *inside[1:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        targets = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *(node.module.split(".") if node.module else [])]
            targets = [[*stem, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        for target in targets:
            if target[0] == "netwright":
                inner = target[1] if len(target) > 1 else "api"
                found.add(inner if inner in FOLDERS else "api")
    return found


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_each_folder_imports_only_what_it_may(folder):
    for path in _sources(folder):
        foreign = _imported_folders(path) - MAY_IMPORT[folder] - {folder}
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_imports_between_files_are_relative(folder):
    for path in _sources(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                first = name.split(".")[0]
                assert first not in FOLDERS | {"netwright"}, f"{path.relative_to(ROOT)}: {name}"


def test_only_tests_import_flax():
    for path in (p for folder in (*sorted(FOLDERS), "examples") for p in _sources(folder)):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] == "flax" for n in names), path.relative_to(ROOT)


@pytest.mark.parametrize(
    "module",
    [
        "netwright",
        "netwright.cli",
        "netwright.formats",
        "netwright.ir.verify",
        "netwright.ir.ops",
        "netwright.ir.text",
        "netwright.frontend.elaborate",
        "netwright.frontend.builder.assembly",
        "netwright.frontend.recipe.reader",
        "netwright.passes.layout",
        "netwright.passes.check",
        "netwright.backend.model",
    ],
)
def test_light_modules_load_nothing_heavy(module):
    code = f"import sys, {module}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def _packages() -> dict[str, str]:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return {name: tool["package-dir"].get(name) or _folder(name) for name in tool["packages"]}


def _folder(name: str) -> str:
    return "/".join(name.split(".")[1:])


def test_every_package_is_listed():
    on_disk = {
        str(p.parent.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).rglob("__init__.py")
    }
    assert set(_packages().values()) == on_disk


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the sources as they are."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_wheel_holds_everything(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in _packages().items():
        for pattern in SHIPPED:
            found = (ROOT / folder).glob(pattern)
            if package == "netwright.frontend" and pattern == "*.nw":
                found = (ROOT / folder / "library").glob(pattern)
            for path in found:
                place = path.relative_to(ROOT / folder)
                wanted = f"{package.replace('.', '/')}/{place}"
                assert wanted in inside, wanted


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_installed_wheel_passes_the_type_checker(wheel, tmp_path):
    """The checker sees the package as its users do, not the sources' layout."""
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "-p", "netwright"],
        cwd=target,
        env={"MYPYPATH": str(target), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_installed_wheel_runs(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    model = ROOT / "examples" / "mlp" / "model.nw"
    code = "from netwright.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(model)],
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "is right for every B" in done.stdout
