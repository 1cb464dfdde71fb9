"""Recipes: what is said about wrong ones (read golden_recipe/*.txt), and what right ones mean."""

import inspect
import math
import random
import re
import subprocess
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import load
from netwright.frontend.recipe.fit import fit
from netwright.frontend.recipe.reader import read_recipe
from netwright.ir.diagnostics import Diagnostics, render
from netwright.ir.optax_options import REQUIRED, STEPS, option_form
from netwright.ir.optimizers import CONTRIB, DECAY_MASKS, FUNCTIONS, OPTIMIZERS
from netwright.ir.recipe import SECTIONS, Recipe, to_toml
from netwright.ir.recipe_forms import Real, Whole, toml
from netwright.ir.recipe_keys import keys_of
from netwright.ir.recipe_reference import reference
from netwright.ir.schedules import SCHEDULES

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden_recipe"
WRONG = sorted(p.stem for p in GOLDEN.glob("*.toml"))
EXAMPLES = sorted(p.parent.name for p in ROOT.glob("examples/*/recipe.toml"))
DATA = '[data]\nkind = "text"\nfile = "data/text.txt"\n'


@pytest.fixture(autouse=True)
def beside_the_data(monkeypatch):
    monkeypatch.chdir(GOLDEN)


def entry(path: Path):
    diagnostics = Diagnostics()
    file = load(path, diagnostics)
    module = elaborate(file, diagnostics)
    diagnostics.raise_errors()
    return module


@pytest.fixture(scope="module")
def shakespeare():
    return entry(ROOT / "examples/shakespeare/model.nw")


def read(text: str, tmp_path: Path, *overrides: str):
    """The recipe of a text (None if it is wrong) and what is said about it."""
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data/text.txt").write_text("All the world is a stage.")
    (tmp_path / "recipe.toml").write_text(text, newline="")
    diagnostics = Diagnostics()
    recipe = read_recipe(tmp_path / "recipe.toml", diagnostics, overrides)
    assert (recipe is None) == bool(diagnostics.errors)
    return recipe, diagnostics


def right(text: str, tmp_path: Path, *overrides: str) -> Recipe:
    recipe, diagnostics = read(text, tmp_path, *overrides)
    diagnostics.raise_errors()
    return recipe


def codes(text: str, tmp_path: Path, *overrides: str) -> list[str]:
    return [d.code for d in read(text, tmp_path, *overrides)[1]]


# Wrong recipes


@pytest.mark.parametrize("name", WRONG)
def test_golden(name, update_golden, request):
    diagnostics = Diagnostics()
    recipe = read_recipe(f"{name}.toml", diagnostics)
    if name.startswith("fit_"):
        assert recipe is not None
        module = request.getfixturevalue("shakespeare")
        assert fit(recipe, module, diagnostics) is None
    else:
        assert recipe is None
    said = "\n\n".join(render(d, diagnostics.sources) for d in diagnostics) + "\n"
    golden = GOLDEN / f"{name}.txt"
    if update_golden:
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def test_there_are_many():
    assert len(WRONG) >= 30


def test_no_recipe_is_said_without_a_traceback(tmp_path):
    for path, code in (
        (tmp_path / "none.toml", "recipe-not-found"),
        (tmp_path, "recipe-not-found"),
    ):
        diagnostics = Diagnostics()
        assert read_recipe(path, diagnostics) is None
        assert [d.code for d in diagnostics] == [code]
    (tmp_path / "recipe.toml").write_bytes(b"a = 1\nb = \xff\xfe")
    diagnostics = Diagnostics()
    assert read_recipe(tmp_path / "recipe.toml", diagnostics) is None
    assert "line 2" in diagnostics.found[0].message


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 3_000,
        "x = " + "[" * 3_000 + "]" * 3_000,
        "[" + "a." * 1_500 + "a]\n",
        "a." * 1_500 + "a = 1\n",
        "[train]\nsteps = " + "9" * 3_900,
        "[train]\nsteps = " + "9" * 5_000,
        "# x\n" * 40_000,
        '[data]\nkind = """' + "x\n" * 20_000,
        "".join(f"[precision.overrides.{'a.' * 35}b{i}]\n" for i in range(600)),
    ],
)
def test_absurd_recipes_are_refused_quickly(text, tmp_path):
    recipe, diagnostics = read(text, tmp_path)
    assert recipe is None
    assert len("".join(render(d, diagnostics.sources) for d in diagnostics)) < 1_000_000


PIECES = [
    *('"', "'", "[", "]", "{", "}", "=", ".", ",", "\n", "#", '"""', "'''", "\\", "[[", "]]"),
    *("0x", "nan", "2020-01-01 07:00:00", "\t", "é", "\0", " = ", "[train]", "a.b.c = 1\n"),
    *("[a]\n", "true", "\r\n", "😀"),
]


def test_no_text_ends_in_a_traceback(tmp_path):
    right = (GOLDEN / "mesh_axes.toml").read_text() + "[sizes]\nS = 4\n[train]\nsteps = 100\n"
    nested = [(GOLDEN / f"{name}.toml").read_text() for name in ("groups", "schedules")]
    draw = random.Random(7)
    for index in range(400):
        text = [right, *nested][index % 3]
        for _ in range(draw.randint(1, 5)):
            at = draw.randrange(len(text) + 1)
            cut = at + draw.choice((0, 0, draw.randint(1, 12)))
            text = text[:at] + draw.choice(PIECES) + text[cut:]
        _, diagnostics = read(text, tmp_path)
        for found in diagnostics:
            render(found, diagnostics.sources)


def test_every_mistake_of_a_recipe_is_told_in_one_run(tmp_path):
    text = DATA + "[train]\nsteps = adam\nbatch = 0\nsede = 1\n[optimizer]\nname = 'adm'\n"
    assert codes(text, tmp_path) == [
        "recipe-syntax", "recipe-range", "recipe-unknown-key", "recipe-choice",
    ]  # fmt: skip


def test_places_are_the_same_with_other_line_ends_and_a_byte_order_mark(tmp_path):
    text = DATA + "\n[train]\nsteps = 0\n"
    for variant in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        _, diagnostics = read(variant, tmp_path)
        assert str(diagnostics.found[0].span).endswith("recipe.toml:6:9")


# Right ones


def test_little_is_required(tmp_path):
    recipe = right(DATA, tmp_path)
    assert recipe.train.steps == 1000
    assert recipe.optimizer.name == "adamw"
    assert recipe.data_path == tmp_path / "data/text.txt"


def test_the_schema_has_every_field_once():
    for section in SECTIONS.values():
        assert [k.name for k in keys_of(section)] == [f.name for f in fields(section)]
    bare = {f.name for f in fields(Recipe)} - {k.name for k in keys_of(Recipe)} - set(SECTIONS)
    assert bare == {"file", "places"}


def test_every_key_is_read_and_written_back(tmp_path):
    text = reference().split("```toml\n")[2].split("```")[0]  # the sample with every key
    everything = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.M)  # with those behind a #
    table = tomllib.loads(everything)
    for name, section in SECTIONS.items():
        assert {k.name for k in keys_of(section) if not k.rest} <= set(table[name])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/digits.npz").write_bytes(b"")
    recipe = right(text, tmp_path)
    assert recipe.sizes == (("S", 128),)
    assert recipe.mesh.overrides == (("gpt.embed", (("V", ("data", "model")),)),)
    assert recipe.schedule.options == (("warmup_steps", 100),)
    assert right(to_toml(recipe), tmp_path) == recipe


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_option_of_an_optimizer_is_read_and_written_back(name, tmp_path):
    values = {}
    for option, default in OPTIMIZERS[name].items():
        form = option_form(option, default)
        other = 3 if isinstance(form, Whole) else 0.5 if isinstance(form, Real) else default
        if other is not None:
            values[option] = other
    options = [f"{o} = {toml(v, option_form(o, v))}" for o, v in values.items()]
    text = "\n".join([DATA, "[optimizer]", f'name = "{name}"', 'decay_on = "all"', *options])
    recipe = right(text, tmp_path)
    assert dict(recipe.optimizer.options) == values
    assert right(to_toml(recipe), tmp_path) == recipe


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_option_of_a_schedule_is_read_and_written_back(name, tmp_path):
    special = {
        "boundaries_and_scales": "{ 10 = 0.5 }", "warmup_steps": "5", "end_value": "0.0",
        "boundaries": "[10]", "schedules": '[{ name = "linear", init_value = 0.1 }, {}]',
        "cycles": "[100, 200]", "interpolate_type": '"cosine"', "decay_steps": "70",
        "total_steps": "90",
    }  # fmt: skip
    options = []
    for option, default in SCHEDULES[name].options.items():
        value = "true" if default is False else "70" if default == STEPS else "0.5"
        value = special.get(option, value)
        value = "3" if option == "transition_begin" else value
        options.append(f"{option} = {value}")
    recipe = right("\n".join([DATA, "[schedule]", f'name = "{name}"', *options]), tmp_path)
    assert {n for n, _ in recipe.schedule.options} == set(SCHEDULES[name].options)
    assert right(to_toml(recipe), tmp_path) == recipe


def test_text_survives_writing_and_reading(tmp_path):
    recipe = right(DATA, tmp_path)
    for name in ('"quoted"', "back\\slash", "é ü 漢字 😀", "a'b", "#no", "{}[]="):
        told = replace(
            recipe, name=name, precision=replace(recipe.precision, overrides=((name, "float16"),))
        )
        if "." not in name:
            assert right(to_toml(told), tmp_path) == told


def test_paths_may_be_quoted_or_not(tmp_path):
    quoted = right(DATA + '[precision.overrides]\n"gpt.norm" = "f32"\n', tmp_path)
    bare = right(DATA + '[precision.overrides]\ngpt.norm = "f32"\n', tmp_path)
    table = right(DATA + '[precision]\noverrides.gpt = { norm = "f32" }\n', tmp_path)
    assert quoted == bare == table
    assert quoted.precision.overrides == (("gpt.norm", "float32"),)
    bare = right(DATA + '[mesh]\naxes = {d = 2}\n[mesh.overrides.gpt.embed]\nV = "d"\n', tmp_path)
    assert bare.mesh.overrides == (("gpt.embed", (("V", ("d",)),)),)


def test_words_of_optax_and_short_words_mean_the_same(tmp_path):
    text = DATA + '[precision]\npolicy = "bf16"\n[schedule]\nname = "cosine_decay_schedule"\n'
    recipe = right(text, tmp_path)
    assert recipe.precision.policy == "bfloat16"
    assert recipe.schedule.name == "cosine"


def test_overrides(tmp_path):
    text = DATA + '[train]\nsteps = 5\n[precision.overrides]\n"gpt.norm" = "f32"\n'
    recipe = right(
        text, tmp_path, "train.steps=7", "name=two words", "precision.overrides.gpt.norm=f16",
        "optimizer.clip = 0.5", 'optimizer.name="sgd"',
    )  # fmt: skip
    assert recipe.train.steps == 7
    assert recipe.name == "two words"
    assert recipe.precision.overrides == (("gpt.norm", "float16"),)
    assert (recipe.optimizer.name, recipe.optimizer.clip) == ("sgd", 0.5)


def test_wrong_overrides_are_quoted(tmp_path):
    _, diagnostics = read(DATA, tmp_path, "train.steps=7", "train.step=ten", "steps", "=3")
    said = [render(d, diagnostics.sources) for d in diagnostics]
    assert "--> --set:2:1" in said[0] and "2 | train.step=ten" in said[0]
    assert sum("expected a key, = and a value" in s for s in said) == 2
    assert codes(DATA, tmp_path, "train.steps=0") == ["recipe-range"]
    assert codes(DATA, tmp_path, "train=0") == ["recipe-type"]


def test_a_mistake_in_the_file_that_is_overridden_is_gone(tmp_path):
    assert right(DATA + "[train]\nsteps = 0\n", tmp_path, "train.steps=3").train.steps == 3


def test_what_the_recipe_decides_is_in_the_plan(tmp_path):
    text = DATA + (
        '[sizes]\nS = 8\n[mesh]\naxes = { d = 2 }\nvalues = { B = "d" }\n'
        '[precision]\npolicy = "bf16"\n[precision.overrides]\ngpt.norm = "f32"\n'
        '[roll]\ngpt.blocks = "unroll"\n'
    )
    recipe = right(text, tmp_path)
    plan = recipe.plan({"B": 32, "S": 8})
    assert plan.sizes == (("B", 32), ("S", 8))
    assert plan.mesh.axes == (("d", 2),) and plan.mesh.values == (("B", ("d",)),)
    assert plan.precision.policy == "bfloat16"
    assert plan.roll[0].key == "gpt.blocks" and plan.roll[0].choice == "unroll"
    assert plan.precision.overrides[0].place == "recipe.toml:12"
    assert right(plan.recipe, tmp_path) == recipe


# Examples


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_fit_their_models(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    diagnostics = Diagnostics()
    recipe = read_recipe(f"examples/{name}/recipe.toml", diagnostics)
    diagnostics.raise_errors()
    module = entry(ROOT / "examples" / name / "model.nw")
    fitted = fit(recipe, module, diagnostics)
    diagnostics.raise_errors()
    assert set(dict(fitted.sizes)) == set(module.free)
    assert [n for n, _ in fitted.fields] == [
        v.label for v in module.instances[0].variants[0].inputs
    ]


def test_fit_binds_sizes_and_fields(shakespeare, tmp_path):
    recipe = right(DATA + 'ids = { tokens = "V" }\n[sizes]\nS = 16\n[train]\nbatch = 4\n', tmp_path)
    fitted = fit(recipe, shakespeare, Diagnostics())
    assert dict(fitted.sizes) == {"B": 4, "S": 16}
    assert fitted.fields == (("tokens", "tokens"), ("targets", "targets"))
    assert dict(fitted.ids) == {"tokens": 256, "targets": 256}


# Optax


MASKS = ("mask", "weight_decay_mask")
SKIPPED = {
    *MASKS, "trust_ratio_mask", "axis",  # which parameters, and which of their axes
    "weight_dimension_numbers", "muon_weight_dimension_numbers",
    "seed",  # deprecated: a key is taken
    "clip_value_fn", "decay_rate_fn", "base_optimizer",  # functions
    "init_step",  # a word and a number
}  # fmt: skip
RATES = ("learning_rate", "max_learning_rate")
NOT_OURS = {
    # they put optimizers, functions or masks together: recipes have keys for that, or Python does
    *"apply_if_finite chain conditionally_mask conditionally_transform flatten freeze".split(),
    "identity",
    *"inject_hyperparams inject_stateful_hyperparams lookahead masked measure_with_ema".split(),
    *"multi_transform named_chain partition selective_transform snapshot stateless".split(),
    *"stateless_with_tree_map with_extra_args_support mechanize sam schedule_free".split(),
    *"split_real_and_imaginary scale_by_schedule scale_by_learning_rate set_to_zero".split(),
    # they ask for the loss as a function, for gradients of each example, or for Hessians
    *"lbfgs scale_by_lbfgs scale_by_backtracking_linesearch scale_by_zoom_linesearch dpsgd".split(),
    *"differentially_private_aggregate sophia".split(),
    # deprecated, or there under another name
    *"optimistic_adam scale_by_rprop scale_by_madgrad scale_by_muon".split(),
}  # fmt: skip


def optax_function(name):
    import optax

    return getattr(optax.contrib if name in CONTRIB else optax, name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_table_of_optimizers_is_optax_s(name):
    parameters = dict(inspect.signature(optax_function(name)).parameters)
    masks = [p for p in MASKS if p in parameters]
    assert masks == [DECAY_MASKS[name]] if name in DECAY_MASKS else not masks
    if name in OPTIMIZERS:
        first = next(iter(parameters))
        assert first in RATES
        del parameters[first]
    theirs = {n: p.default for n, p in parameters.items() if n not in SKIPPED}
    for option, ours in FUNCTIONS[name].items():
        default = theirs.pop(option)
        if option in ("dtype_momentum", "param_dtype"):
            default = default.dtype.name
        assert ours == (REQUIRED if default is inspect.Parameter.empty else default) or (
            option == "key" and ours == REQUIRED
        )
    assert not theirs


def test_all_of_optax_is_there():
    import optax

    for module in (optax, optax.contrib):
        for name in dir(module):
            function = getattr(module, name)
            if name.startswith("_") or not inspect.isroutine(function):
                continue
            parameters = inspect.signature(function).parameters
            told = str(inspect.signature(function).return_annotation)
            if "learning_rate" in parameters or "GradientTransformation" in told:
                assert name in FUNCTIONS or name in NOT_OURS, name
    for name in dir(optax.schedules):
        if "schedule" in name and callable(getattr(optax.schedules, name)):
            known = {kind.optax for kind in SCHEDULES.values()}
            assert name in known or "inject" in name or "Schedule" in name, name


@pytest.mark.parametrize("name", [n for n, k in SCHEDULES.items() if k.optax and n != "sgdr"])
def test_the_table_of_schedules_is_optax_s(name):
    import optax

    kind = SCHEDULES[name]
    parameters = inspect.signature(getattr(optax, kind.optax)).parameters
    assert set(parameters) == {kind.rate, *kind.options} - {""}
    for option, ours in kind.options.items():
        theirs = parameters[option].default
        if theirs is not inspect.Parameter.empty and ours != REQUIRED:
            assert ours == theirs


def test_reading_loads_nothing_heavy(tmp_path):
    (tmp_path / "recipe.toml").write_text(DATA.replace("data/", ""))
    (tmp_path / "text.txt").write_text("x")
    script = (
        "import sys\n"
        "from netwright.frontend.recipe.reader import read_recipe\n"
        "from netwright.ir.diagnostics import Diagnostics\n"
        f"assert read_recipe({str(tmp_path / 'recipe.toml')!r}, Diagnostics())\n"
        "print([m for m in ('jax', 'numpy', 'optax', 'lark', 'networkx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# The reference page


def test_reference_page(update_golden):
    page = ROOT / "docs/recipe.md"
    if update_golden:
        page.write_text(reference(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == reference()


def test_numbers_are_written_as_toml_reads_them(tmp_path):
    recipe = right(DATA, tmp_path)
    for rate in (1e-30, 1e16, 1 / 3, 5e-324, 123456789.125):
        told = replace(recipe, optimizer=replace(recipe.optimizer, learning_rate=rate))
        assert math.isclose(right(to_toml(told), tmp_path).optimizer.learning_rate, rate, rel_tol=0)
