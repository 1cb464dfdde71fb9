"""What Orbax writes is read: its three layouts, a manager's folder, and several items."""

from __future__ import annotations

import numpy as np
import optax
import pytest
from netwright.formats import FormatError, open_weights
from trees import flat, same

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    import jax
    import jax.numpy as jnp
    import orbax.checkpoint as ocp

    folder = tmp_path_factory.mktemp("orbax")
    params = {
        "dense": {"kernel": jnp.arange(12.0).reshape(4, 3), "bias": jnp.ones(3, jnp.bfloat16)},
        "list": [jnp.ones(2), jnp.ones(3)],
    }
    tree = {"params": params, "opt_state": optax.adam(1e-3).init(params), "step": 7}
    tree |= {"none": None, "empty": {}}
    with ocp.StandardCheckpointer() as writer:
        writer.save(folder / "standard", tree)
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(folder / "pytree", tree)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as writer:
        writer.save(folder / "files", tree)
    with ocp.CheckpointManager(folder / "manager") as manager:
        for step in (3, 12):
            newest = {**tree, "step": step}
            manager.save(step, args=ocp.args.StandardSave(newest))
        manager.wait_until_finished()
    with ocp.CheckpointManager(folder / "items", item_names=("params", "more")) as manager:
        both = {name: ocp.args.StandardSave({name: tree["step"]}) for name in ("params", "more")}
        manager.save(1, args=ocp.args.Composite(**both))
        manager.wait_until_finished()
    named = jax.tree.map(np.asarray, tree)
    state = named["opt_state"]
    named["opt_state"] = [{f: getattr(state[0], f) for f in state[0]._fields}, None]
    return folder, flat(named)


@pytest.mark.parametrize("layout", ["standard", "pytree", "files"])
def test_each_layout(saved, layout):
    folder, wanted = saved
    same(open_weights(folder / layout), wanted)


def test_a_managers_folder_means_its_newest_step(saved):
    folder, wanted = saved
    weights = open_weights(folder / "manager")
    assert weights.read(("step",)) == 12
    assert weights.leaves.keys() == wanted.keys()
    same(open_weights(folder / "manager" / "3"), {**wanted, ("step",): np.asarray(3)})


def test_of_several_items_one_must_be_named(saved):
    folder, _ = saved
    with pytest.raises(FormatError, match="several trees: more, params"):
        open_weights(folder / "items")
    assert open_weights(folder / "items" / "1" / "params").read(("params",)) == 7


def test_damage_is_told(saved, tmp_path):
    import shutil

    folder, _ = saved
    copy = tmp_path / "copy"
    shutil.copytree(folder / "standard", copy)
    (copy / "_METADATA").write_text("{")
    with pytest.raises(FormatError, match="Orbax cannot read"):
        open_weights(copy)
