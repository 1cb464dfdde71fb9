"""Fixtures of the frontend's tests."""

import pytest
from netwright import driver
from netwright.ir.text import parse, show
from netwright.ir.verify import verify


@pytest.fixture
def load(tmp_path):
    def load(text, entry=None, files=None, **settings):
        for name, more in (files or {}).items():
            (tmp_path / name).write_text(more)
        (tmp_path / "model.nw").write_text(text)
        module = driver.load(tmp_path / "model.nw", settings, entry).module
        assert not verify(module)
        assert parse(show(module)) == module
        return module

    return load
