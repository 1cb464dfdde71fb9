"""`netwright plan`: the report, JSON, plans that are written, edited, compared and obeyed."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from netwright import driver, planned, planning
from netwright.cli import main
from netwright.ir.diagnostics import InputError
from netwright.ir.plan import Mesh, Plan
from netwright.passes.planner.choose import MARGIN
from netwright.passes.planner.pool import Option
from programs import EXAMPLES, SMALL, small_shakespeare

GPT2 = str(EXAMPLES / "gallery/gpt2.nw")
TINY = [p for n, v in {"V": 64, "L": 4, "D": 32, "G": 2}.items() for p in ("--set", f"{n}={v}")]
SHARES = (1.01, 0.8, 0.6, 0.4, 0.2, 0.01)
BATCH = ["--set", "B=8", "--set", "S=64"]


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["plan", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def found() -> dict:
    """A plan that keeps some of what it could."""
    return json.loads(run(GPT2, *TINY, *BATCH, "--memory", "9.6MB", "--json"))


def test_what_is_not_bound_is_asked_for_by_name():
    said = run(GPT2, "--set", "S=8", code=1)
    assert "B has none" in said and "--set B=…" in said
    assert "S" not in said.split("has none")[0].split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--memory", "lots"), "'lots' is no amount of memory"),
        (("--memory", "0.5"), "'0.5' is no amount of memory"),
        (("--memory", "9" * 400), "is no amount of memory"),
        (("--device", "h101"), "did you mean h100?"),
        (("--optimizer", "adamq"), "no optimizer is called 'adamq'"),
        (("--precision", "float17"), "no precision is called 'float17'"),
        (
            ("--entry", "GPT2"),
            "GPT2 is a model, so there is nothing to train\nhelp: a loss: next_token",
        ),
    ],
)
def test_mistakes(arguments, message):
    assert message in run(GPT2, *BATCH, *arguments, code=1)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16GiB", 2**34),
        ("80GB", 80 * 10**9),
        ("1.5 MiB", 3 * 2**19),
        ("77", 77),
        ("2k", 2000),
        ("1PB", 10**15),
    ],
)
def test_amounts_of_memory(text, count):
    assert planning.memory_bytes(text) == count


@pytest.mark.slow
def test_the_report_fits_a_screen(found):
    said = run(GPT2, *TINY, *BATCH, "--memory", str(found["budget"]))
    lines = said.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert "gpt.body.blocks, 4 copies:" in said and ".nw:" in said
    assert "nothing_saveable" in said


def test_the_json_says_it_all(found):
    assert found["fits"] and found["peak"] <= found["budget"]
    assert sum(found["components"].values()) == found["peak"]
    (chosen,) = (o for o in found["options"] if o["chosen"])
    assert found["seconds"]["again"] == chosen["again"] > 0
    assert all(  # no policy that fits costs less
        o["again"] >= chosen["again"] for o in found["options"] if o["peak"] <= found["peak"]
    )
    remat = found["plan"]["remat"]
    assert remat["gpt.body.blocks"]["choice"] == "recompute"
    saved = [d for d in remat.values() if d["choice"] == "save"]
    assert len(saved) == len(chosen["keeps"][0]) and all(d["reason"] and d["place"] for d in saved)


@pytest.mark.slow
def test_nothing_that_fits_says_what_would_be_enough():
    said = run(GPT2, *TINY, *BATCH, "--memory", "1MB", code=1)
    assert "does not fit" in said and "a budget of" in said
    assert (
        '7 more devices: axes = { data = 8 }, values = { B = "data" }, params = { D = "data" }'
    ) in said
    sizes = {"V": 64, "L": 4, "D": 32, "G": 2, "B": 8, "S": 64}
    for count, fits in ((8, True), (4, False)):
        mesh = Mesh((("data", count),), (("B", ("data",)),), (("D", ("data",)),))
        asked = planning.of_model(EXAMPLES / "gallery/gpt2.nw", sizes, "1MB")
        assert replace(asked, plan=replace(asked.plan, mesh=mesh)).answer().fits == fits


def test_more_memory_never_means_more_time(found):
    whole = found
    ordered = sorted(whole["options"], key=lambda o: o["peak"])
    least = [min(o["again"] for o in ordered[: i + 1]) for i in range(len(ordered))]
    assert least == sorted(least, reverse=True) and least[-1] == 0
    assert len({o["again"] for o in ordered}) > 8


@pytest.mark.slow
def test_a_recipe_with_a_budget_is_planned_for(tmp_path):
    """The program keeps what the plan says; a plan that was edited is obeyed as well."""
    plain = driver.program_of(small_shakespeare(tmp_path / "plain"), SMALL)
    assert "checkpoint" not in plain.model
    folder = small_shakespeare(tmp_path / "small")
    options = planning.of_folder(folder, SMALL).answer().options
    some = max((o for o in options if not o.name), key=lambda o: o.peak)
    with (folder / "recipe.toml").open("a") as recipe:
        recipe.write(f'\n[memory]\nbudget = "{int(some.peak / (1 - MARGIN)) + 1}"\n')
    files = driver.program_of(folder, SMALL)
    made = Plan.from_json(files.plan)
    saved = {d.key for d in made.remat if d.choice == "save"}
    assert files.model.count("checkpoint_name(") >= 1 and "jax.checkpoint(" in files.model
    written = tmp_path / "plan.json"
    written.write_text(files.plan.replace('"save"', '"recompute"'))
    edited = driver.program_of(folder, SMALL, written)
    assert saved and "checkpoint_name" not in edited.model and "jax.checkpoint(" in edited.model
    said = run("diff", tmp_path / "plan.json", _written(tmp_path, files.plan))
    assert all(f"remat {key}: recompute -> save" in said for key in saved)
    assert run("diff", written, written) == "nothing differs\n"


def test_a_plan_that_is_not_text(tmp_path):
    file = tmp_path / "plan.json"
    file.write_bytes(b'{"format": 1,\n"model": "\xff"}')
    assert "plan.json, line 2: this is not UTF-8 text" in run("diff", file, file, code=1)
    with pytest.raises(InputError, match="not UTF-8"):
        driver.program_of(EXAMPLES / "mlp", plan_file=file)


def test_the_device_of_a_recipe_is_looked_for_beside_it(tmp_path):
    folder = small_shakespeare(tmp_path / "small", '\n[memory]\ndevice = "mine.toml"\n')
    card = "memory = 25e9\nbandwidth = 1e12\npeak = { float32 = 8e13 }\n"
    (folder / "mine.toml").write_text(card)
    assert planning.of_folder(folder, SMALL).device.name == "mine"
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("mine.toml", "h101"))
    with pytest.raises(InputError, match=r'recipe.toml:\d+:\d+\n\d+ \| device = "h101"'):
        planning.of_folder(folder, SMALL)


def test_a_plan_that_was_edited_is_reported_as_it_is(found, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(found["plan"]))
    asked = (GPT2, *TINY, "--memory", "9.6MB", "--plan", file)
    same = json.loads(run(*asked, "--json"))
    assert same["plan"] == found["plan"] and same["peak"] == found["peak"]
    assert same["seconds"] == pytest.approx(found["seconds"])
    file.write_text(json.dumps(found["plan"]).replace('"save"', '"recompute"'))
    less = json.loads(run(*asked, "--json"))
    assert less["peak"] < same["peak"] and less["seconds"]["again"] > same["seconds"]["again"]
    assert "no other was looked for" in run(*asked)


def test_a_plan_for_a_folder_is_reported_as_emit_obeys_it(tmp_path):
    folder = small_shakespeare(tmp_path / "small")
    file = tmp_path / "plan.json"
    blocks = {"gpt.blocks": "recompute"}
    plan = {"format": 1, "microbatches": 2, "sizes": {"S": 16, "B": 4}, "remat": blocks}
    settings = [f"--set={n}={v}" for n, v in SMALL.items()]
    file.write_text(json.dumps(plan))
    told = json.loads(run(folder, *settings, "--plan", file, "--json"))
    assert told["plan"]["remat"] == {"gpt.blocks": {"choice": "recompute"}}
    assert told["plan"]["sizes"] == plan["sizes"] and told["microbatches"] == 2
    for wrong in ({"S": 8}, {"B": 8}):
        file.write_text(json.dumps({**plan, "sizes": {**plan["sizes"], **wrong}}))
        assert "the plan is for" in run(folder, *settings, "--plan", file, code=1)
        with pytest.raises(InputError, match="the plan is for"):
            driver.program_of(folder, SMALL, file)
    file.write_text(json.dumps({**plan, "model": "0"}))
    assert "the model has changed" in run(folder, *settings, "--plan", file)
    (warning,) = driver.program_of(folder, SMALL, file).warnings
    assert warning.code == "plan-of-another-model"


@pytest.mark.parametrize("option", ["--entry", "--optimizer", "--precision"])
def test_what_the_recipe_says_is_not_said_again(option):
    folder = EXAMPLES / "shakespeare"
    assert f"{option} is for a MODEL" in run(folder, option, "float32", code=2)
    assert "no such file" in run(folder, "--plan", "nowhere.json", code=1)


def test_the_stock_policies_that_matter_stand_beside_a_plan():
    options = [Option(f"small {n}", (), 9.0 - n / 10, 10 + n) for n in range(10)]
    options += [Option("nothing_saveable", (), 9.0, 5), Option("best", (), 1.0, 80)]
    options += [Option("over", (), 0.5, 95), Option("everything_saveable", (), 0.0, 200)]
    chosen = options[0]
    found = SimpleNamespace(blocks=(1,), options=options, chosen=chosen, seconds=1.0)
    rows = planned._beside(found, 90)[1:]
    assert [row.split("  ")[1] for row in rows] == [
        "nothing_saveable", "small 0", *(f"small {n}" for n in range(6, 10)), "best",
        "everything_saveable",
    ]  # fmt: skip
    assert "chosen" in rows[1] and "fit" not in rows[-2] and "does not fit" in rows[-1]


def test_long_lines_of_the_report_are_folded():
    parts = planned._folded("12.3 MB of something, " * 20)
    assert max(map(len, parts)) <= 100 and all(p.endswith(",") for p in parts[:-1])
    assert planned._folded("x" * 200) == ["x" * 200]
    assert planned._smaller(1) == "  and 1 smaller one"


def test_microbatches_change_what_is_measured_of_a_batch():
    for model, sizes, own in (
        ("resnet18", {"B": 8}, True),
        ("gpt2", {"B": 8, "S": 64}, False),
    ):
        question = planning.of_model(EXAMPLES / f"gallery/{model}.nw", sizes)
        more = replace(question.plan, microbatches=2)
        assert planned.own_statistics(question, more) == own
        assert not planned.own_statistics(question, question.plan)


def _written(folder, text):
    path = folder / "before.json"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_a_budget_that_nothing_fits_is_said_where_it_stands(tmp_path):
    folder = small_shakespeare(tmp_path / "small", '\n[memory]\nbudget = "10kB"\n')
    with pytest.raises(InputError) as error:
        driver.program_of(folder, SMALL)
    (problem,) = error.value.diagnostics
    assert problem.code == "memory-budget" and problem.span.line == folder_line(folder)


def folder_line(folder) -> int:
    lines = (folder / "recipe.toml").read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if line.startswith("budget"))


@pytest.mark.slow
def test_a_plan_in_microbatches_is_timed_as_it_was_found(tmp_path):
    arguments = (GPT2, *TINY, *BATCH, "--memory", "3MB", "--json")
    found = json.loads(run(*arguments, "-o", tmp_path / "plan.json"))
    given = json.loads(run(*arguments, "--plan", tmp_path / "plan.json"))
    assert found["microbatches"] == given["microbatches"] > 1
    assert given["peak"] == found["peak"] and given["seconds"] == pytest.approx(found["seconds"])


@pytest.mark.slow
def test_more_memory_never_takes_more_time():
    sizes = {"V": 2048, "L": 2, "D": 32, "G": 2, "B": 12, "S": 64}
    asked = planning.of_model(EXAMPLES / "gallery/gpt2.nw", sizes, "1GB")
    most = asked.answer().report.peak / (1 - MARGIN)
    found = [replace(asked, budget=int(share * most)).answer() for share in SHARES]
    times = [f.total for f in found if f.fits]
    assert len(times) > 3 and times == sorted(times)
    assert found[0].longer == 0 and found[0].chosen.again == 0
    whole = found[0].total
    assert [f.longer for f in found] == pytest.approx([f.total / whole - 1 for f in found])
    assert len({f.plan.microbatches for f in found}) > 2
    (said,) = (a for a in found[-1].advice if a.startswith("a budget of "))
    enough = planning.memory_bytes(said.removeprefix("a budget of "))
    assert not found[-1].fits and replace(asked, budget=enough).answer().fits


def test_every_microbatch_divides_over_the_devices():
    sizes = {"V": 64, "L": 4, "D": 32, "G": 2, "B": 8, "S": 64}
    mesh = Mesh((("data", 4),), (("B", ("data",)),), (("D", ("data",)),))
    asked = planning.of_model(EXAMPLES / "gallery/gpt2.nw", sizes, "0.3MB")
    found = replace(asked, plan=replace(asked.plan, mesh=mesh)).answer()
    assert not found.fits and found.plan.microbatches == 2
