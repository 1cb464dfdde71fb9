"""Emitted programs as their owners meet them: readable, repeatable, theirs."""

from __future__ import annotations

import ast
import subprocess
import sys

import netwright as nw
import pytest
from programs import EXAMPLES, ROOT, SMALL, netwright, settings, small_shakespeare

GOLDEN = ROOT / "tests" / "golden" / "shakespeare_model.py"


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """The Llama of the examples as it is emitted."""
    folder = tmp_path_factory.mktemp("llama") / "program"
    netwright("emit", EXAMPLES / "shakespeare", "-o", folder)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A small Llama, compiled into this process."""
    folder = small_shakespeare(tmp_path_factory.mktemp("small") / "small")
    return nw.load(folder, **SMALL).compile()


def test_the_llama_reads_as_it_did(llama, update_golden):
    text = (llama / "model.py").read_text()
    if update_golden:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_llama_is_short(llama):
    lines = (llama / "model.py").read_text().splitlines()
    assert len(lines) <= 160
    assert max(map(len, lines)) <= 100
    tree = ast.parse("\n".join(lines))
    assigned = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assign)]
    assert len(assigned) == len(set(assigned))


def test_model_py_imports_only_jax(llama):
    tree = ast.parse((llama / "model.py").read_text())
    roots = {
        (n.module or "").split(".")[0]
        if isinstance(n, ast.ImportFrom)
        else n.names[0].name.split(".")[0]
        for n in ast.walk(tree)
        if isinstance(n, ast.Import | ast.ImportFrom)
    }
    assert roots == {"jax"}


@pytest.mark.parametrize("example", ["mlp", "digits", "pronounce", "shakespeare"])
def test_emission_is_the_same_under_any_hash_seed(example, tmp_path):
    found = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        netwright("emit", EXAMPLES / example, "-o", out, PYTHONHASHSEED=seed)
        found.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert found[0] == found[1]
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", str(tmp_path / "1")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_the_loss_can_be_differentiated_and_mapped(small):
    import jax
    import jax.numpy as jnp

    model, batch = small.model, small.data.batch(0)
    params = model.init_params(jax.random.key(0))

    def loss(params, batch):
        return model.loss(params, {}, batch, jax.random.key(1), True)[0]

    value, gradients = jax.value_and_grad(loss)(params, batch)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))

    rows = {k: v[:, None] for k, v in batch.items()}
    one_by_one = jax.vmap(lambda b: model.loss(params, {}, b, None, False)[0])(rows)
    together = model.loss(params, {}, batch, None, False)[0]
    assert jnp.allclose(one_by_one.mean(), together, rtol=1e-5)

    value, slope = jax.jvp(
        lambda p: model.loss(p, {}, batch, None, False)[0],
        (params,),
        (jax.tree.map(jnp.ones_like, params),),
    )
    expected = jax.grad(lambda p: model.loss(p, {}, batch, None, False)[0])(params)
    assert jnp.allclose(
        slope, sum(g.sum() for g in jax.tree.leaves(expected)), rtol=1e-4, atol=1e-5
    )


def test_a_loop_of_ones_own(small):
    state = small.init(0)
    first = None
    for step in range(8):
        state, metrics = small.step(state, small.put_batch(small.data.batch(step)))
        total, count = metrics["loss"]
        first = first if first is not None else float(total / count)
    assert float(total / count) < first
    assert small.predict(state, {"tokens": small.data.batch(0)["tokens"]}).shape == (
        8,
        16,
        SMALL["V"],
    )
    assert "def attention(params, x):" in small.source


def test_edited_programs_are_not_overwritten(tmp_path):
    folder = small_shakespeare(tmp_path / "small")
    out = tmp_path / "program"
    netwright("emit", folder, "-o", out, *settings())
    again = netwright("emit", folder, "-o", out, *settings())
    assert "nothing has changed" in again.stdout
    model = out / "model.py"
    model.write_text(model.read_text() + "# mine\n")
    refused = netwright("emit", folder, "-o", out, *settings(), fine=False)
    assert refused.returncode == 1
    assert "edited-program" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert model.read_text().endswith("# mine\n")
    (out / "train.py").unlink()  # what is gone may be written anew, but not over an edit
    assert netwright("emit", folder, "-o", out, *settings(), fine=False).returncode == 1


def test_other_folders_are_not_written_into(tmp_path):
    folder = small_shakespeare(tmp_path / "small")
    refused = netwright("emit", folder, "-o", folder, *settings(), fine=False)
    assert refused.returncode == 1
    assert "folder-not-empty" in refused.stderr


def test_a_folder_that_cannot_be_made_is_named_as_it_was_given(tmp_path):
    (tmp_path / "file").write_text("")
    done = netwright("emit", EXAMPLES / "mlp", "-o", tmp_path / "file" / "p", fine=False)
    assert done.returncode == 1 and f"{tmp_path / 'file' / 'p'}: " in done.stderr


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("--help",), 0),
        (("check", "--help"), 0),
        (("check", "nowhere.nw"), 1),
        (("train", "nowhere"), 1),
        (("resume", "nowhere"), 1),
        (("sample", "nowhere"), 1),
        (("check",), 2),
        (("check", "x.nw", "--set", "D"), 2),
        (("frobnicate",), 2),
    ],
)
def test_exit_codes(arguments, code):
    done = netwright(*arguments, fine=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_without_its_model_is_none(tmp_path):
    from netwright.running import call

    (tmp_path / "program").mkdir()
    for present, lacking in (("train.py", "model.py"), ("model.py", "runtime")):
        (tmp_path / "program" / present).touch()
        with pytest.raises(nw.InputError, match=f"is not a run: there is no .*{lacking}"):
            call(tmp_path, "--resume", str(tmp_path))
