"""What several test files of the runtime use."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import tiny_lm
from jax.experimental.compilation_cache import compilation_cache
from netwright.runtime import Job, data
from runtime_helpers import TEXT, adam


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Where compiled programs are kept between the tests of a worker."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(compiled):
    """Equal programs are compiled once: most of these tests' time went there.

    The tests with processes of their own go without, so that resuming is also seen to be exact
    when each process compiles for itself.
    """
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "sheep.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def job(text):
    """A job that trains in well under a second, without a process of its own."""
    return Job(
        name="sheep",
        model=tiny_lm,
        optimizer=adam,
        data=lambda: data.Text(text, length=16, batch=8, held_out=0.1, seed=3),
        steps=10,
        evaluate_every=5,
        checkpoint_every=3,
        keep=2,
    )


@pytest.fixture
def npz(tmp_path):
    """60 pictures with labels; returns path and arrays."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 17, (60, 8, 8)).astype(np.uint8), rng.integers(0, 10, 60)
    np.savez(tmp_path / "digits.npz", x=x, y=y.astype(np.uint8))
    return tmp_path / "digits.npz", x, y
