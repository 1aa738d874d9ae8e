"""Settings: read, overridden and refused with a message that says what to do."""

import json

import pytest

from tfrs_twotower import recipes
from tfrs_twotower.configuration import from_dict, override, to_dict
from tfrs_twotower.data import Files, Temporal, UserHeldOut
from tfrs_twotower.errors import ConfigError, brief, invalid, nearest
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import History
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.losses import TripletHinge
from tfrs_twotower.models import LearnedTemperature
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.sampling import Hard, InBatch, Uniform
from tfrs_twotower.training import TrainingConfig

RECIPE = Recipe("shop")


def refusal(call, *args, **kwargs):
    """The message of the `ConfigError` that the call raises."""
    with pytest.raises(ConfigError) as error:
        call(*args, **kwargs)
    return str(error.value)


@pytest.mark.parametrize(("cls", "field", "value", "rule"), [
    (TrainingConfig, "epochs", 0, "be a whole number of at least 1"),
    (TrainingConfig, "epochs", -1, "be a whole number of at least 1"),
    (TrainingConfig, "epochs", 2.5, "be a whole number of at least 1"),
    (TrainingConfig, "batch_size", 0, "be a whole number of at least 1"),
    (TrainingConfig, "shuffle_buffer", 0, "be a whole number of at least 1"),
    (TrainingConfig, "checkpoint_steps", 0, "be a whole number of at least 1"),
    (TrainingConfig, "patience", -1, "be a whole number of at least 0"),
    (TrainingConfig, "known_positives", -1, "be a whole number of at least 0"),
    (TrainingConfig, "seed", -1, "be a whole number of at least 0 and below 4294967296"),
    (TrainingConfig, "seed", 2**32, "be a whole number of at least 0 and below 4294967296"),
    (ModelConfig, "dim", 0, "be a whole number of at least 1"),
    (ModelConfig, "dim", -3, "be a whole number of at least 1"),
    (TripletHinge, "margin", 0.0, "be a finite number above 0"),
    (History, "half_life_days", -1.0, "be a finite number above 0"),
    (Recipe, "rejected_limit", -0.1, "be a finite number of at least 0 and at most 1"),
    (Recipe, "rejected_limit", 1.1, "be a finite number of at least 0 and at most 1"),
])
def test_a_wrong_setting_is_refused_when_it_is_made(cls, field, value, rule):
    required = {"name": "shop"} if cls is Recipe else {}
    where = f"{cls.__name__}.{field}"
    message = refusal(cls, **required, **{field: value})
    assert message.startswith(f"`{where}` must {rule}. Received: {where}={value!r}. ")


def test_settings_at_their_bounds_are_allowed():
    TrainingConfig(batch_size=1, epochs=1, shuffle_buffer=1, checkpoint_steps=1, patience=0, known_positives=0, seed=0)
    TrainingConfig(seed=2**32 - 1)
    ModelConfig(dim=1)
    assert [Recipe("x", rejected_limit=limit).rejected_limit for limit in (0, 1)] == [0, 1]


def test_a_similarity_of_another_name():
    assert refusal(ModelConfig, similarity="cosin") == (
        "`ModelConfig.similarity` must be 'cosine' or 'dot'. Received: ModelConfig.similarity='cosin'. "
        "Did you mean `cosine`?"
    )


@pytest.mark.parametrize("name", ["", "../esc", "a/b", ".hidden", "-x", "a b", "a\n", "é"])
def test_a_name_that_is_no_folder_is_refused(name):
    assert refusal(Recipe, name).startswith("`Recipe.name` must be letters, digits, `.`, `_` and `-`, the first a ")


@pytest.mark.parametrize("name", ["x", "7", "my.shop_v2-b"])
def test_a_plain_name_is_a_folder(name):
    assert Recipe(name).name == name


def test_a_monitor_outside_of_the_cut_offs_is_refused():
    assert refusal(override, RECIPE, ["evaluation.ks=[5]"]) == (
        "`training.monitor` must be a metric at one of evaluation.ks=[5]. Received: training.monitor='ndcg@10'. "
        "Did you mean `ndcg@5`?"
    )
    assert "Did you mean `ndcg@10`?" in refusal(override, RECIPE, ["training.monitor=ndgc@10"])
    for name in ("recall", "hit_rate", "ndcg", "novelty", "coverage"):
        assert override(RECIPE, [f"training.monitor={name}@50"]).training.monitor == f"{name}@50"
    assert override(RECIPE, ["training.monitor=mrr", "evaluation.ks=[5]"]).evaluation.ks == (5,)


@pytest.mark.parametrize("assignments", [
    ["evaluation.ks=[5, 7]", "training.monitor=ndcg@5"],
    ["training.monitor=ndcg@5", "evaluation.ks=[5, 7]"],
])
def test_settings_that_must_agree_come_in_any_order(assignments):
    changed = override(RECIPE, assignments)
    assert (changed.evaluation.ks, changed.training.monitor) == ((5, 7), "ndcg@5")
    assert changed.training.epochs == RECIPE.training.epochs
    bounds = ["split.test=0.5", "split.validation=0.3"], ["split.validation=0.8", "split.test=0.1"]
    for pair in bounds:
        for order in (pair, pair[::-1]):
            split = override(RECIPE, order).split
            assert [f"split.test={split.test}", f"split.validation={split.validation}"] == sorted(pair)


def test_a_whole_object_and_then_a_field_of_it():
    learned = 'model.temperature={"type": "LearnedTemperature"}'
    changed = override(RECIPE, [learned, "model.temperature.low=0.02"])
    assert changed.model.temperature == LearnedTemperature(low=0.02)
    # The later one counts: the whole object replaces what was assigned to its fields.
    changed = override(RECIPE, ["split.test=0.3", 'split={"type": "UserHeldOut"}', "model.dim=3", "model.dim=4"])
    assert changed.split == UserHeldOut() and changed.model.dim == 4
    assert RECIPE == Recipe("shop")


def test_a_number_names_a_place_of_a_tuple():
    both = override(RECIPE, ["model.negatives=[{\"type\": \"InBatch\"}, {\"type\": \"Hard\"}]"])
    # Together they fit, one after the other they do not: `last` may not be below `first`.
    changed = override(both, ["model.negatives.1.first=900", "model.negatives.1.last=1000"])
    assert changed.model.negatives == (InBatch(), Hard(first=900, last=1000))
    assert override(both, ['model.negatives.0={"type": "Uniform"}']).model.negatives == (Uniform(), Hard())
    assert override(RECIPE, ["evaluation.ks.1=70"]).evaluation.ks[1] == 70
    for name in ("2", "x", "-1"):
        assert refusal(override, both, [f"model.negatives.{name}.count=3"]) == (
            f"`model.negatives.{name}.count`: there are elements 0 to 1, and no `{name}`."
        )
    assert "must be a list of" in refusal(override, both, ["model.negatives.0=3"])


@pytest.mark.parametrize(("assignment", "message"), [
    ('split={"type": "Files", "path": "x.csv"}',
     "`split` must be Temporal or Newest or LeaveLastOut or UserHeldOut or RandomHoldout or RandomPerUser"),
    ('split={"type": "Files"}', "`Files` needs the field `path`, which has no default."),
    ('schema={"type": "Schema"}', "`Schema` needs the field `query`, which has no default."),
    ("split=temporal", "`split` must be Temporal or "),
    ("split=3", "`split` must be Temporal or "),
    ('model={"type": "ModelConfig", "dim": "wide"}',
     "`ModelConfig.dim` must be int. Received: ModelConfig.dim='wide'. The default is "),
    ('model={"type": "ModelConfig", "dims": 3}', "`ModelConfig` has no field `dims`. Did you mean `dim`?"),
    ('split={"type": "Temporl"}', "Unknown configuration class `Temporl`. Did you mean `Temporal`?"),
    ('model.loss={"type": "Zzz"}', "Unknown configuration class `Zzz`. Known: `BinaryCrossEntropy`, "
     "`FullSoftmax`, `TripletHinge`, `TripletLogistic`, `BPR`, `RefinedSampledSoftmax`, `SampledSoftmax`"),
    ('model={"type": "ModelConfig", "logq": {"type": "Zzz"}}',
     "Unknown configuration class `Zzz`. Known: `NoLogQ`, `StaticLogQ`, `StreamingLogQ`."),
    ('model.negatives.0={"type": "Zzz"}', "Unknown configuration class `Zzz`. Known: `InBatch`, `Uniform`,"),
    ('model.query_encoder={"type": "GRU4Re"}', "Unknown configuration class `GRU4Re`. Did you mean `GRU4Rec`?"),
    ('split={"type": ["Temporal"]}', "Unknown configuration class `['Temporal']`."),
    ("index.kind=scan", "`IndexConfig.kind` cannot be 'scan'. Did you mean `scann`?"),
    ("title=3", "`title` must be str or null. Received: title=3."),
    ("evaluation.ks=5", "`evaluation.ks` must be a list of int. Received: evaluation.ks=5."),
    ("index.target_recall=NaN", "`index.target_recall` must be a finite number."),
    ("index.target_recall=true", "`index.target_recall` must be a finite number. Received: index.target_recall=True."),
    ("model.temperature.value=Infinity", "`model.temperature.value` must be a finite number."),
    ('model.negatives=["InBatch"]', "`model.negatives` must be a list of InBatch or "),
    ("model.temperature=0.1", "`model.temperature` must be FixedTemperature or ScheduledTemperature or "
     "LearnedTemperature. Received: model.temperature=0.1. It is {\"type\": \"FixedTemperature\", \"value\": 0.05}"),
    ("name.first=x", "`name.first` goes deeper than the configuration, at `first`."),
    ("training.epoch=3", "`training.epoch`: `TrainingConfig` has no field `epoch`. Did you mean `epochs`?"),
    ('model={"type": "ModelConfig", "loss": {"type": "RefinedSampledSoftmax"}, "logq": {"type": "NoLogQ"}}',
     "`ModelConfig.logq` must be StreamingLogQ or StaticLogQ with RefinedSampledSoftmax. Received: "),
    ("training", "`--set` must look like name.name=value. Received: 'training'."),
])
def test_a_wrong_override_is_refused(assignment, message):
    assert refusal(override, RECIPE, [assignment]).startswith(message)


def test_a_whole_number_becomes_a_float_where_one_is_due():
    target = override(RECIPE, ["index.target_recall=1"]).index.target_recall
    assert target == 1.0 and type(target) is float


def test_every_recipe_reads_back():
    changed = override(RECIPE, ['source={"type": "Files", "path": "x.csv", "where": [["a", ">", 0.5]]}'])
    assert changed.source == Files("x.csv", where=(("a", ">", 0.5),))
    for recipe in (changed, *map(recipes.load, recipes.names())):
        assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_from_dict_and_a_missing_field():
    assert refusal(from_dict, {"type": "Recipe"}) == (
        "`Recipe` needs the field `name`, which has no default. Give it."
    )
    assert from_dict({"type": "Temporal", "test": 0.2}) == Temporal(test=0.2)
    for cls in (TrainingConfig, EvaluationConfig, IndexConfig, ModelConfig):
        assert from_dict({"type": cls.__name__}) == cls()


def test_a_list_of_known_names_ends_after_ten():
    ids = [f"i{i}" for i in range(1000)]
    assert nearest("zzz", ids) == " Known: " + ", ".join(f"`i{i}`" for i in range(10)) + ", …."
    assert nearest("zzz", ids[:10]) == " Known: " + ", ".join(f"`i{i}`" for i in range(10)) + "."
    assert nearest("i7777", ids) == " Did you mean `i777`?"


def test_a_value_is_quoted_up_to_500_characters():
    assert invalid("k", "be 3", "x" * 498, "Do.") == f"`k` must be 3. Received: k='{'x' * 498}'. Do."
    assert invalid("k", "be 3", "x" * 499, "Do.") == f"`k` must be 3. Received: k='{'x' * 499}…. Do."


def test_of_a_large_value_only_what_is_quoted_is_formatted():
    class Counted(list):
        """Counts how often it is formatted."""

        formatted = 0

        def __repr__(self):
            Counted.formatted += 1
            return "[]"

    assert brief([1, ["a'b", None], {"c": 1.5}, b"d"]) == """[1, ["a'b", None], {'c': 1.5}, b'd']"""
    assert brief([Counted()] * 10**6, 9) == "[[], [], …" and Counted.formatted == 3
    assert brief({i: Counted() for i in range(1000)}, 9) == "{0: [], 1…"
    assert brief(["x" * 10**6], 5) == "['xxx…"


def test_runs_that_cannot_be_made_are_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for root in (file, file / "below"):
        message = refusal(runs.create, root, "shop")
        assert message.startswith(f"`runs` must be a folder that can be written. Received: runs={str(root)!r}. ")
    (tmp_path / "shop").touch()  # where the recipe's folder should be
    assert "can be written" in refusal(runs.create, tmp_path, "shop")
    assert runs.create(tmp_path / "deep" / "runs", "shop").is_dir()


def test_versions_count_up_over_the_runs_of_a_recipe_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "2024").mkdir()
    monkeypatch.chdir(tmp_path)  # a folder of somebody's own, named as a version is
    run = tmp_path / "runs" / "shop" / "b"
    assert runs.next_version(run) == 1
    (tmp_path / "runs" / "shop" / "a" / runs.EXPORT / "6").mkdir(parents=True)
    (tmp_path / "runs" / "other" / "a" / runs.EXPORT / "9").mkdir(parents=True)
    assert runs.next_version(run) == 7


@pytest.mark.parametrize("items, most", [(100, 20_000), (100_000, 20_000), (250_000, 8_000), (5_000_000, 2_000)])
def test_a_large_catalogue_is_ranked_for_fewer_queries_unless_a_number_is_given(items, most):
    default, given = EvaluationConfig(), EvaluationConfig(test_queries=0, validation_queries=7)
    assert (default.most_test_queries(items), default.most_validation_queries(items)) == (most, most // 2)
    assert (given.most_test_queries(items), given.most_validation_queries(items)) == (0, 7)
