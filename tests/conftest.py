"""What all tests share."""

import signal

import pytest

HANG = 60  # seconds: far beyond what anything here takes on a busy machine


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite golden files instead of comparing"
    )


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
