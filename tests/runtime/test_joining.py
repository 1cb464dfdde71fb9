"""How several processes are told of each other, without starting any."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import pytest
from netwright.backend.program import ProgramFiles, write_program
from netwright.runtime import RunError
from netwright.runtime.processes import Joined, add_options, join
from programs import netwright


def joined(words, **environment):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return join(parser.parse_args(words.split()), environment)


def test_one_process_needs_no_others():
    assert joined("") == Joined()
    assert joined("--coordinator a:1 --processes 1 --process 0") == Joined()


@pytest.mark.parametrize(
    "words, said",
    [
        ("--coordinator a:1 --process 0", "--processes is not given"),
        ("--coordinator a --processes 2 --process 0", "it must be HOST:PORT"),
        ("--coordinator a:1 --processes 2 --process 2", "of 2 processes the numbers are 0 to 1"),
        ("--cluster", "JAX finds no cluster here"),
    ],
)
def test_what_does_not_go_together_is_told(words, said, monkeypatch):
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    with pytest.raises(RunError, match=said):
        joined(words)


def test_the_environment_speaks_where_the_command_line_does_not():
    environment = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2"}
    with pytest.raises(RunError, match="--process is not given"):
        joined("", **environment)
    with pytest.raises(RunError, match="--process 7: of 2 processes"):
        joined("--process 7", **environment)
    with pytest.raises(RunError, match="JAX_PROCESS_ID = 'one': it must be a whole number"):
        joined("", JAX_PROCESS_ID="one")


def test_a_run_of_several_needs_a_name():
    done = netwright("train", "examples/mlp", "--processes", "2", fine=False)
    assert done.returncode == 2 and "several processes need --run DIR" in done.stderr


def test_a_program_is_written_once_by_several(tmp_path):
    files = ProgramFiles("mine", "A = 1\n", "B = 2\n", "{}", {"model": "x"})
    for number in range(5):
        folder = tmp_path / f"run{number}" / "program"
        with ThreadPoolExecutor(8) as pool:
            changed = list(pool.map(lambda _, to=folder: write_program(files, to), range(8)))
        assert sum(map(bool, changed)) == 1
        assert [p.name for p in folder.parent.iterdir()] == ["program"]
    assert write_program(files, folder) == []
