"""The table of hardware."""

from __future__ import annotations

import pytest
from netwright.ir.diagnostics import InputError
from netwright.ir.hardware import ALIASES, TABLE, hardware


def test_every_device_is_described():
    for name, device in TABLE.items():
        assert hardware(name) is device and device.source
        assert device.memory > 2**33 and device.bandwidth > 1e10
        assert device.flops("bfloat16") >= device.flops("float32") > 0
    assert all(hardware(short).name == name for short, name in ALIASES.items())


def test_a_device_of_ones_own(tmp_path):
    file = tmp_path / "card.toml"
    file.write_text("memory = 25e9\nbandwidth = 1e12\npeak = { float32 = 8e13 }\n")
    found = hardware(str(file))
    assert (found.name, found.memory, found.flops("bfloat16")) == ("card", 25 * 10**9, 8e13)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memory = 1e9", "bandwidth must be a number"),
        ("memroy = 1e9", "memroy is no field; memory"),
        ("memory = 1e9\nbandwidth = 1e9", "peak must give"),
        ("memory = ", "nvalid"),
    ],
)
def test_a_file_that_describes_none(tmp_path, text, message):
    file = tmp_path / "card.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        hardware(str(file))


def test_unknown_device():
    with pytest.raises(InputError, match="no device is called 'h10'"):
        hardware("h10")
