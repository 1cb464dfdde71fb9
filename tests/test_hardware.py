"""The table of hardware."""

from __future__ import annotations

import re
import shutil

import pytest
from netwright import driver
from netwright.ir.diagnostics import InputError
from netwright.ir.hardware import ALIASES, TABLE, hardware
from programs import EXAMPLES


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
    assert not found.cpu and hardware("cpu").cpu
    file.write_text(file.read_text() + "cpu = true\n")
    assert hardware(str(file)).cpu


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memory = 1e9", "bandwidth must be a number"),
        ("memroy = 1e9", "memroy is no field; memory"),
        ("memory = 1e9\nbandwidth = 1e9", "peak must give"),
        ("memory = ", "nvalid"),
        ("memory = inf", "memory must be a number of bytes above 0"),
        ("memory = nan", "memory must be a number of bytes above 0"),
        ("memory = 1e9\nbandwidth = nan", "bandwidth must be a number"),
        ("memory = 1e9\nbandwidth = 1e9\npeak.float32 = inf", "peak must give"),
        ("memory = 1e9\nbandwidth = 1e9\npeak.float32 = true", "peak must give"),
        ("name = 3", "name must be a text"),
        ("source = 3", "source must be a text"),
        ('cpu = "yes"', "cpu must be true or false"),
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


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("5e12", 5e12),
        ("200_000_000_000", 2e11),
        ('"h100"', 989e12),  # in the policy's dtype
        ('"card.toml"', 8e13),
    ],
)
def test_the_recipe_says_what_a_device_does(tmp_path, written, found):
    """For MFU; a number, a device of the table, or a file beside the recipe."""
    folder = tmp_path / "mlp"
    shutil.copytree(EXAMPLES / "mlp", folder)
    (folder / "card.toml").write_text(
        "memory = 25e9\nbandwidth = 1e12\npeak = { float32 = 4e13, bfloat16 = 8e13 }\n"
    )
    recipe = (folder / "recipe.toml").read_text()
    recipe += '\n[precision]\npolicy = "bfloat16"\n'
    (folder / "recipe.toml").write_text(recipe.replace("[train]\n", f"[train]\npeak = {written}\n"))
    script = driver.program_of(folder).train
    assert float(re.search(r"\n    peak=(.*),\n", script)[1]) == found


def test_a_device_that_the_recipe_names_and_nobody_knows(tmp_path):
    folder = tmp_path / "mlp"
    shutil.copytree(EXAMPLES / "mlp", folder)
    recipe = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(recipe.replace("[train]\n", '[train]\npeak = "h1oo"\n'))
    with pytest.raises(InputError) as caught:
        driver.program_of(folder)
    assert "no device is called 'h1oo'" in str(caught.value)
    assert '| peak = "h1oo"' in str(caught.value)
