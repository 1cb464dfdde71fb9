"""The process in which a program trains."""

import subprocess
import sys

from netwright.running import LARGE_PAGES, environment


def test_malloc_asks_for_large_pages(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    found = environment()
    assert found["GLIBC_TUNABLES"] == LARGE_PAGES
    said = [sys.executable, "-c", "import os; print(os.environ['GLIBC_TUNABLES'])"]
    done = subprocess.run(said, env=found, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (LARGE_PAGES, "")


def test_settings_of_malloc_that_are_there_stay(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    assert environment()["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=1"
