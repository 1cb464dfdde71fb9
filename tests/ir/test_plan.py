"""Plans: the file comes back as it was, what is wrong in it is said, and entries must match."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from netwright.ir.bind import substitute
from netwright.ir.diagnostics import InputError
from netwright.ir.plan import (
    SECTIONS,
    Decision,
    Mesh,
    Plan,
    Precision,
    check_plan,
    decide,
    find,
    inherited,
    keys,
    module_hash,
)
from sample_module import MODULE

FULL = Plan(
    model=module_hash(MODULE),
    recipe="adamw, 3e-4",
    sizes=(("B", 8), ("S", 128)),
    mesh=Mesh(
        axes=(("data", 4), ("model", 2)),
        values=(("B", ("data",)),),
        params=(("S", ("data", "model")),),
        overrides=(Decision("net.blocks.w", (("T", ()),), "small", "main.nw:9"),),
    ),
    microbatches=4,
    precision=Precision("bfloat16", (Decision("net.blocks", "float32", "sums of many"),)),
    roll=(Decision("net.blocks", "unroll", "two copies", "main.nw:7"),),
    groups=(Decision("net.blocks", 2, "few at a time"),),
    shard=(Decision("net/heads", (("E", ("model",)),), "by \"hand\"", ""),),
    remat=(Decision("net.heads/y", "recompute", "large"), Decision("/first", "save")),
    loss_chunks=(Decision("/biased", 16, "fits"),),
    layout=(Decision("net/mixed", "(B S)"),),
)  # fmt: skip


def wrong(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        Plan.from_json(text, "p.json")
    return [d.message for d in caught.value.diagnostics]


def with_changes(**changes) -> str:
    tree = json.loads(Plan().to_json())
    return json.dumps({**tree, **changes}, indent=1)


def test_a_plan_comes_back_as_it_was():
    read = Plan.from_json(FULL.to_json())
    assert read == replace(FULL, remat=decide(FULL.remat))
    assert read.to_json() == FULL.to_json()
    assert Plan.from_json(Plan().to_json()) == Plan()
    assert Plan.from_json('{"format": 1}') == Plan()


def test_every_section_is_in_the_file():
    tree = json.loads(FULL.to_json())
    assert list(tree) == ["format", *(f.name for f in fields(Plan))]
    assert {s.split(".")[0] for s in SECTIONS} <= set(tree)
    for name, value in tree.items():
        assert value, name


def test_every_decision_is_one_line_in_the_order_of_the_tree():
    lines = FULL.to_json().splitlines()
    assert (
        '    "net.blocks": {"choice": "unroll", "reason": "two copies", "place": "main.nw:7"}'
        in lines
    )
    made = decide((), *FULL.remat, Decision("", "save"), Decision("net", "save"))
    assert [d.key for d in made] == ["", "/first", "net", "net.heads/y"]


def test_a_choice_may_stand_without_a_reason():
    plan = Plan.from_json(
        '{"format": 1, "roll": {"net.blocks": "scan"}, "shard": {"net/y": {"B": "data"}}}'
    )
    assert plan.roll == (Decision("net.blocks", "scan"),)
    assert plan.shard == (Decision("net/y", (("B", ("data",)),)),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rol": {}}, 'nothing in the plan is called "rol"'),
        ({"mesh": {"axs": {}}}, 'nothing in mesh is called "axs"'),
        ({"mesh": []}, "mesh is an object, not []"),
        ({"mesh": {"axes": {"data": 0}}}, "mesh.axes.data is a whole number of at least 1, not 0"),
        ({"mesh": {"values": {"B": 3}}}, "mesh.values.B is a list of mesh axes, not 3"),
        ({"sizes": {"B": True}}, "sizes.B is a whole number of at least 1, not true"),
        ({"sizes": {"B": 2.0}}, "sizes.B is a whole number of at least 1, not 2.0"),
        ({"microbatches": "2"}, 'microbatches is a whole number of at least 1, not "2"'),
        ({"model": 3}, "model is a string, not 3"),
        ({"precision": {"policy": None}}, "precision.policy is a string, not null"),
        ({"roll": {"a.b": "scam"}}, 'roll."a.b".choice is one of scan, unroll, not "scam"'),
        ({"roll": {"a": {"choice": 1}}}, "roll.a.choice is one of scan, unroll, not 1"),
        ({"roll": {"a": {"choice": "scan", "why": ""}}}, 'nothing in roll.a is called "why"'),
        ({"roll": {"a": {"choice": "scan", "reason": 1}}}, "roll.a.reason is a string, not 1"),
        (
            {"loss_chunks": {"/x": "many"}},
            'loss_chunks."/x".choice is a whole number of at least 1',
        ),
        ({"layout": {"/x": 1}}, 'layout."/x".choice is a string, not 1'),
        ({"shard": {"/x": 1}}, 'shard."/x".choice is an object, not 1'),
        ({"format": 2}, "format 1 is understood, not 2"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(changes, message):
    (found,) = wrong(with_changes(**changes))
    assert message in found


def test_every_mistake_is_reported_at_its_place():
    text = with_changes(rol={}, microbatches=0)
    with pytest.raises(InputError) as caught:
        Plan.from_json(text, "p.json")
    places = {d.span.line: d.message for d in caught.value.diagnostics}
    rows = text.splitlines()
    assert len(places) == 2
    assert all('"rol"' in rows[n - 1] or '"microbatches"' in rows[n - 1] for n in places)
    assert "did you mean roll?" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": 1, "roll": {"a": "scan", "a": "scan"}}', "NaN", "[" * 100_000],
)
def test_what_is_not_json_or_not_a_plan_is_refused(text):
    assert wrong(text)


def test_a_plan_that_matches():
    assert check_plan(MODULE, FULL) == ()
    assert check_plan(substitute(MODULE, {"B": 8, "S": 128}), FULL) == ()


def test_a_changed_model_is_a_warning():
    (warning,) = check_plan(replace(MODULE, name="other"), FULL)
    assert warning.severity == "warning"
    assert warning.code == "plan-of-another-model"


@pytest.mark.parametrize(
    ("changes", "message", "help"),
    [
        (
            {"roll": (Decision("net.block", "scan"),)},
            '"net.block" in roll',
            "did you mean net.blocks?",
        ),
        ({"roll": (Decision("net.heads", "scan"),)}, '"net.heads" in roll', ""),
        (
            {"remat": (Decision("net/mixd", "save"),)},
            '"net/mixd" in remat',
            "did you mean net/mixed?",
        ),
        ({"shard": (Decision("net", (("B", ()),)),)}, "not the key of a value or a param", ""),
        ({"shard": (Decision("net/y", ()),)}, '"net/y" in shard', ""),
        ({"shard": (Decision("net/mixed", (("Z", ()),)),)}, "not a dim of the model", ""),
        (
            {"shard": (Decision("net/mixed", (("B", ("dta",)),)),)},
            "not an axis of the mesh",
            "did you mean data?",
        ),
        ({"mesh": replace(FULL.mesh, params=(("Q", ("data",)),))}, '"Q" in mesh.params', ""),
        ({"mesh": replace(FULL.mesh, axes=(("model", 2),))}, '"data" in mesh.values', ""),
        (
            {"sizes": (("b", 3),)},
            '"b" in sizes matches nothing: it is not a free size',
            "did you mean B?",
        ),
        (
            {"precision": Precision("float32", (Decision("net", "flaot32"),))},
            "not a precision",
            "did you mean float32?",
        ),
    ],
)
def test_an_entry_that_matches_nothing_is_an_error(changes, message, help):
    with pytest.raises(InputError) as caught:
        check_plan(MODULE, replace(FULL, **changes))
    assert any(message in d.message and help in d.help for d in caught.value.diagnostics)


def test_a_plan_for_other_sizes_is_an_error():
    with pytest.raises(InputError, match="the plan is for B = 8; here B is 4"):
        check_plan(substitute(MODULE, {"B": 4, "S": 128}), FULL)


def test_keys_name_instances_repeats_parameters_and_values():
    found = keys(MODULE)
    assert found["repeat"] == ("net.blocks",)
    assert found["param"] == ("net.bias", "net.blocks.w", "net.heads.v")
    assert {"/loss", "net/mixed", "net/h.2", "net.blocks/x"} <= set(found["value"])


def test_what_is_decided_for_an_instance_holds_inside():
    decisions = (Decision("", "a"), Decision("net", "b"), Decision("net.blocks/x", "c"))
    assert inherited(decisions, "net.blocks/x").choice == "c"
    assert inherited(decisions, "net.blocks/y").choice == "b"
    assert inherited(decisions, "net.blocks").choice == "b"
    assert inherited(decisions, "network").choice == "a"
    assert inherited(decisions[1:], "network") is None
    assert find(decisions, "net.blocks") is None


def test_the_hash_is_of_what_is_computed():
    same = replace(MODULE, facts=("checked",), claims=())
    assert module_hash(same) == module_hash(MODULE)
    assert module_hash(replace(MODULE, name="other")) != module_hash(MODULE)
    entry = replace(MODULE.instances[0], doc="Words.")
    assert module_hash(replace(MODULE, instances=(entry, *MODULE.instances[1:]))) == module_hash(
        MODULE
    )
