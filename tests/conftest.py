"""What all tests share."""

import os
import signal
from collections import Counter

import pytest

# Most of the time of these tests goes into compiling what runs once. Without LLVM's optimisations
# it takes half; XLA's own passes, and with them buffers and collectives, are as they always are.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

HANG = 60  # seconds: far beyond what anything here takes on a busy machine


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite golden files instead of comparing"
    )
    parser.addoption(
        "--every-case", action="store_true", help="all cases of the library, and not a day's part"
    )


@pytest.hookimpl(tryfirst=True)  # before slow tests are taken out
def pytest_collection_modifyitems(items):
    """Of the cases of a test that is `sampled(n)`, all but every n-th are slow."""
    seen = Counter()
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            name = item.nodeid.partition("[")[0]
            if seen[name] % mark.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[name] += 1


@pytest.fixture
def optimised():
    """Compiled as for a user: only then do two programs of the same steps agree to the bit."""
    import jax

    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def update_golden(request) -> bool:
    """Whether golden files are to be rewritten."""
    return request.config.getoption("--update-golden")


@pytest.fixture
def ends():
    """The test fails where it would hang."""

    def hangs(*_):
        raise TimeoutError(f"still busy after {HANG} seconds")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
