"""The command line, verb by verb, on the retail sample, as a user types it."""

import dataclasses
import json
import os
import shutil

import pandas as pd
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import recipes
from tfrs_twotower.cli.inspect import print_field_weights
from tfrs_twotower.cli.main import build_parser, main
from tfrs_twotower.cli.training import _program, print_lost, recipe_of
from tfrs_twotower.cli.update import source_of
from tfrs_twotower.data import Columns, Files
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exporting import Key, integrity
from tfrs_twotower.pipeline import runs

pytestmark = pytest.mark.usefixtures("two_signatures")
_QUICK = [
    "--set", "training.epochs=1", "--set", "training.batch_size=256", "--set", "evaluation.bootstrap=50",
    "--set", "evaluation.ks=[5, 10]", "--set", "index.k=10", "--set", "model.dim=16",
    "--set", "race=null", "--set", "evaluation.baseline_seconds=0",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The planted data as a CSV and a Parquet file, with columns of other names."""
    folder = tmp_path_factory.mktemp("files")
    frames, _ = toy.planted()
    names = {"user_id": "customer", "item_id": "sku", "timestamp": "bought_at"}
    log = frames["interactions"].rename(columns=names)
    log["bought_at"] = pd.to_datetime(log["bought_at"], unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S")
    log.to_csv(folder / "log.csv", index=False)
    frames["items"].rename(columns=names).to_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A run of `twotower train plain` on those files, in a folder of its own."""
    root = tmp_path_factory.mktemp("runs")
    (root / "sign.key").write_text("k" * 32)
    status = main([
        "train", "plain", "--interactions", str(files / "log.csv"), "--items", str(files / "items.parquet"),
        "--user-id", "customer", "--item-id", "sku", "--timestamp", "bought_at", "--runs", str(root),
        *_QUICK, "--set", "title=category", "--sign-key", str(root / "sign.key"),
    ])
    assert status == 0
    return root / "plain" / "latest"


def test_train_leaves_what_the_help_promises(run):
    assert {"config.json", "metrics.json", "checkpoint", "refit", "report", "export"} <= {p.name for p in run.iterdir()}
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"protocol", "test", "slices", "baselines", "index", "training", "versions"} <= set(metrics)
    assert metrics["test"].keys() == metrics["baselines"]["popularity"].keys()
    assert {"recall@10", "hit_rate@10", "ndcg@10", "mrr", "coverage@10"} <= set(metrics["test"])
    assert metrics["training"]["examples_per_second"] > 0 and metrics["training"]["peak_memory_mb"] > 0
    assert metrics["index"]["recall@10"] == 1.0
    manifest = json.loads((run / "export" / "1" / "manifest.json").read_text())
    assert manifest["metrics"] == metrics["test"]  # of the training that did not see what evaluated it
    assert manifest["trained_on"]["refit"] and manifest["trained_on"]["events"] == manifest["training_events"] == 8000
    assert (run / "export" / "1" / "saved_model.pb").is_file()
    assert integrity.check(run / "export" / "1", Key.read(run.parents[1] / "sign.key"), 1) == manifest
    popularity = json.loads((run / "popularity.json").read_text())
    tried = {tuple(weights): value for *weights, value in popularity["validation"]}
    chosen = popularity["weight"], popularity["neighbours"], popularity["repeats"]
    assert list(tried)[0] == chosen  # the chosen one stands first
    assert {w for w, *_ in popularity["validation"]} == {0.0, 0.25, 0.5, 1.0, 1.5, 2.0}
    assert metrics["popularity_weight"] == popularity["weight"]
    assert "popularity" in (run / "report" / "metrics.txt").read_text()
    assert 5_000 < (run / "report" / "index.html").stat().st_size < 5_000_000


def test_a_training_that_is_refused_leaves_no_folder(files, tmp_path, capsys):
    command = ["train", "plain", "--interactions", str(files / "log.csv"), "--runs", str(tmp_path / "runs")]
    assert main(command) == 1 and "no column `user_id`" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())


def test_an_unknown_recipe_is_refused_with_all_that_there_are(capsys):
    assert main(["train", "zzz"]) == 1
    message = capsys.readouterr().err
    assert all(f"`{name}`" in message for name in recipes.names())


def test_recommend_prints_k_rows_a_user(run, capsys):
    assert main(["recommend", str(run), "u1", "unknown", "-k", "4", "--json"]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert [r["rank"] for r in rows] == [1, 2, 3, 4] * 2 and rows[0]["title"]
    assert "answered as unknown users: unknown\n" in printed.err


def test_explain_prints_shares_whose_sum_is_the_score(run, capsys):
    assert main(["recommend", str(run), "u1", "-k", "1", "--json"]) == 0
    (best,) = json.loads(capsys.readouterr().out)
    assert main(["explain", str(run), "u1", best["item_id"], "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["share"] for row in rows) == pytest.approx(best["score"], abs=1e-3)
    assert rows[0]["of"] == "average item" and {"event", "popularity", "rest"} <= {row["of"] for row in rows}
    assert main(["explain", str(run), "u1", best["item_id"], "-n", "2"]) == 0
    said = capsys.readouterr().out
    assert "smaller shares (-n)." in said and "Without the event with " in said
    assert main(["explain", str(run), "unknown", best["item_id"]]) == 0
    assert "answered as unknown users: unknown\n" in capsys.readouterr().err


def test_similar_and_index_and_evaluate(run, capsys):
    assert main(["similar", str(run), "i3", "-k", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert main(["index", str(run), "--set", "kind=ivf"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "ivf"
    assert main(["evaluate", str(run), "--json"]) == 0
    printed = capsys.readouterr()
    again = json.loads(printed.out)
    assert again["test"] == pytest.approx(json.loads((run / "metrics.json").read_text())["test"])
    assert "was stopped" not in printed.err


def test_a_stopped_training_is_not_evaluated_as_if_it_had_ended(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "popularity.json").unlink()
    assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    assert "was stopped before it chose the weights" in capsys.readouterr().err


def test_anybodys_scores_are_judged_beside_the_model(run, files, tmp_path, capsys):
    """A file that knows the answers beats the model; one of ids that the log does not have is refused."""
    log = pd.read_csv(files / "log.csv").rename(columns={"customer": "user_id", "sku": "item_id"})
    newest = log.sort_values("bought_at")[len(log) * 9 // 10:].drop_duplicates(["user_id", "item_id"])
    newest[["user_id", "item_id"]].assign(score=1.0).to_csv(tmp_path / "theirs.csv", index=False)
    assert main(["evaluate", str(run), "--scores", str(tmp_path / "theirs.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baselines"]["scores"]["mrr"] == 1.0 > found["test"]["mrr"]
    assert found["beats"]["scores"]["mrr"]["interval"][1] < 0
    pd.DataFrame({"user_id": ["x"], "item_id": ["y"], "score": [1.0]}).to_parquet(tmp_path / "other.parquet")
    assert main(["evaluate", str(run), "--scores", str(tmp_path / "other.parquet")]) == 1
    assert "name users and items of the log" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--scores", str(tmp_path / "none.csv")]) == 1
    assert "`--scores` must be a Parquet or CSV file" in capsys.readouterr().err


def test_export_of_both_flavours_each_as_its_next_version(run, tmp_path, capsys):
    pytest.importorskip("scann", reason="scann is not installed")
    assert main(["export", str(run), "--flavour", "both"]) == 1
    assert "`--to` must name a folder" in capsys.readouterr().err
    (tmp_path / "portable" / "1").mkdir(parents=True)
    assert main(["export", str(run), "--flavour", "both", "--to", str(tmp_path)]) == 0
    assert {str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob("saved_model.pb")} == {"scann/1", "portable/2"}
    assert capsys.readouterr().out.splitlines()[-2:] == [f"{tmp_path}/scann/1", f"{tmp_path}/portable/2"]


def test_an_export_has_the_index_that_it_is_told(run, tmp_path, capsys, monkeypatch):
    told = []
    monkeypatch.setattr("tfrs_twotower.recommender.export", lambda *given, kind, **named: told.append((given[1], kind)))
    assert main(["export", str(run), "--to", str(tmp_path), "--set", "kind=ivf"]) == 0
    ((root, kind),) = told
    assert root == str(tmp_path) and kind.name == "ivf"
    assert main(["export", str(run), "--flavour", "both", "--to", str(tmp_path), "--set", "kind=ivf"]) == 1
    assert "`--set` must not be given with --flavour both" in capsys.readouterr().err


def test_resume_refuses_what_it_would_not_do(run, capsys):
    assert main(["train", "--resume", str(run), "--set", "training.epochs=9"]) == 1
    assert "settings. Received also: overrides. Leave these out" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--no-refit"]) == 1
    assert "Received also: no_refit. Leave" in capsys.readouterr().err


@pytest.mark.parametrize("change, message", [
    (["train", "gru4rec"], "`recipe.name` must be that of the run in the folder: 'plain'"),
    (["--interactions", "items.parquet"], "`recipe.source` must be that of the run in the folder"),
    (["--set", "race=null", "--set", "model.dim=8"], "whose run was started without --set model.dim=8"),
])
def test_the_folder_of_a_run_takes_no_other_training(run, files, capsys, change, message):
    before = {path: path.stat().st_mtime_ns for path in run.resolve().iterdir()}
    command = ["train", "plain"] if change[0] != "train" else change
    log = str(files / ("items.parquet" if "--interactions" in change else "log.csv"))
    command += ["--interactions", log, "--items", str(files / "items.parquet"), "--user-id", "customer",
                "--item-id", "sku", "--timestamp", "bought_at", "--folder", str(run),
                "--sign-key", str(run.parents[1] / "sign.key")]
    command += change if change[0] == "--set" else []
    assert main(command) == 1
    assert message in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.resolve().iterdir()} == before


def test_serving_a_run_in_place_of_its_versions_is_refused(run, capsys):
    assert main(["serve", str(run)]) == 1
    assert f"Serve {run / 'export'}" in capsys.readouterr().err


def test_a_wrong_title_stops_before_training(files, tmp_path, capsys):
    argv = ["train", "plain", "--interactions", str(files / "log.csv"), "--user-id", "customer", "--item-id", "sku",
            "--timestamp", "bought_at", "--runs", str(tmp_path), "--set", "title=titel"]
    assert main(argv) == 1
    assert "`title` must be a column" in capsys.readouterr().err
    assert not list(tmp_path.rglob("checkpoint"))


def test_inspect_needs_no_tensorflow(run, capsys):
    assert main(["inspect", str(run)]) == 0
    assert "Id(user_id)" in capsys.readouterr().out
    assert main(["inspect", str(run / "export" / "1")]) == 0
    printed = capsys.readouterr().out
    assert "portable" in printed and "trained on       8,000 events until " in printed


def test_a_finished_run_resumed_trains_no_further(run, capsys, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main(["train", "--resume", str(copy), "--no-export"]) == 0
    before, after = (json.loads((d / "metrics.json").read_text())["test"] for d in (run, copy))
    assert after == pytest.approx(before)


@pytest.mark.parametrize(("argv", "message"), [
    (["train", "retial"], "Did you mean `retail`?"),
    (["train", "retail", "--set", "training.epoch=3"], "Did you mean `epochs`?"),
    (["train", "retail", "--set", "training.epochs=three"], "`training.epochs` must be int"),
    (["train", "retail", "--set", "training"], "name.name=value"),
    (["train", "plain"], "needs `--interactions`"),
    (["train", "plain", "--interactions", "no/such.parquet"], "no/such.parquet"),
    (["recommend", "no/such/run", "1"], "must be a folder that `twotower train` wrote"),
    (["report", "mine/export/1"], "It lies in the run mine: name that."),
    (["watch", "mine", "--log", "nolog"], "nolog holds no answers. Name a folder that `serve --log-requests`"),
    (["serve", "export", "--insecure", "--log-requests", "mine/config.json"], "`--log-requests` must name a folder"),
    (["serve", "export", "--store", "sqlite:s.db", "--archive", "mine/config.json"], "`--archive` must name a folder"),
    (["inspect", "no/such/run"], "must be a run or an exported version"),
])
def test_mistakes_get_one_line(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "export" / "1").mkdir(parents=True)
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("twotower: ") and "Traceback" not in error


@pytest.mark.parametrize("argv, message", [
    (["recommend", "runs/x", "1", "-k", "0"], "at least 1"),
    (["trian"], "There is no verb `trian`. Did you mean `train`?"),
    (["zzz"], "Known: `prepare`, "),
    (["serve", "x", "--logrequests", "y"], "twotower serve: error: unrecognized arguments: --logrequests y. Did you "
     "mean `--log-requests`?"),
    (["--quiet", "train"], "unrecognized arguments: --quiet"),
])
def test_usage_errors_exit_with_2(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2 and message in " ".join(capsys.readouterr().err.split())


def test_a_stopped_training_says_how_it_goes_on(monkeypatch, tmp_path, capsys):
    """Stopped before its first checkpoint, there is nothing to go on with."""
    monkeypatch.chdir(tmp_path)
    for folder, said in (("none", ""), ("mine", " `twotower train --resume mine` continues the training.")):
        def stop(self, *args, **kwargs):
            if self.directory.name == "mine":
                (self.directory / "config.json").write_text("{}")
            raise KeyboardInterrupt

        (tmp_path / folder).mkdir()
        monkeypatch.setattr("tfrs_twotower.recommender.Recommender.fit", stop)
        assert main(["train", "retail", "--folder", folder]) == 130
        assert capsys.readouterr().err == f"twotower: stopped.{said}\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is Linux's")
def test_a_full_disk_is_said_and_any_other_fault_is_not_hidden(monkeypatch, capsys):
    class Write:
        """A verb that writes to the file that it is told."""

        @staticmethod
        def add_parser(verbs):
            parser = verbs.add_parser("write")
            parser.add_argument("path")
            parser.set_defaults(run=lambda args: tf.io.write_file(args.path, "x"))

    monkeypatch.setattr("tfrs_twotower.cli.main.VERBS", (Write,))
    assert main(["write", "/dev/full"]) == 1
    assert capsys.readouterr().err.startswith("twotower: the disk is full.")
    with pytest.raises(tf.errors.OpError):
        main(["write", "/dev/null/x"])


def test_every_recipe_builds_and_survives_json():
    from tfrs_twotower.configuration import from_dict, to_dict

    for name in recipes.names():
        recipe = recipes.load(name)
        assert recipe.name == name and from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe
        assert recipes.summary(name)


def test_other_paths_replace_the_sample_and_its_tables():
    args = build_parser().parse_args(["train", "retail", "--interactions", "x.parquet", "--user-id", "u"])
    source = recipe_of(args).source
    assert isinstance(source, Files) and source.path == os.path.abspath("x.parquet")  # found from any folder
    assert source.columns.user_id == "u"
    assert source.items_path is None and source.users_path is None


def test_reading_a_run_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        runs.read_config(tmp_path)


def test_the_retail_recipe_reads_its_sample():
    from tfrs_twotower.data import ingest
    from tfrs_twotower.features import infer_schema

    recipe = recipes.load("retail")
    log, report = ingest(recipe.source)
    assert report.rejected == {} and recipe.title in log.items.column_names
    schema = infer_schema(log)
    schema.validate([*log.users.column_names, *log.context.column_names], log.items.column_names)
    assert {"id_item_id", "category_department", "category_manufacturer_id"} <= {f.name for f in schema.candidate}
    assert {"id_user_id", "history_mean", "category_age", "category_income"} <= {f.name for f in schema.query}


def test_the_command_to_serve_is_the_one_that_was_typed(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)  # the environment isn't active
    monkeypatch.setattr("sys.argv", [".venv/bin/twotower", "train"])
    assert _program() == ".venv/bin/twotower"
    monkeypatch.setattr("sys.argv", ["tfrs_twotower/__main__.py", "train"])
    assert _program().endswith("python -m tfrs_twotower")


def test_field_weights_are_shown_the_largest_first(capsys):
    print_field_weights({"query": {"id_user_id": 0.25, "history_mean": 0.754}, "candidate": {}})
    assert capsys.readouterr().out == "query weights    history_mean 0.75, id_user_id 0.25\n"


def test_a_baseline_that_is_above_the_model_is_told(capsys):
    def beats(low, high):
        return {"ndcg@10": {"difference": (low + high) / 2, "interval": [low, high]}}

    lost = beats(-0.03, -0.01)
    print_lost({"popularity": lost, "item_knn": lost, "retrieval": beats(-0.02, 0.01)}, "ndcg@10")
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert first.startswith("Warning: popularity is above the model: ndcg@10 -0.0200 [-0.0300, -0.0100].")
    assert second.startswith("Warning: item_knn is above") and ("beta" in first, "beta" in second) == (True, False)


def test_a_log_is_read_by_the_same_options_in_every_verb_that_reads_one():
    options = ["--interactions", "new.csv", "--timestamp", "none", "--time-unit", "d", "--label", "liked", "--weight",
               "plays", "--weight-scale", "linear", "--positive", "rating >= 4", "--where", "n > 0", "--where", "b = x"]
    columns = Columns(timestamp=None, time_unit="d", label="liked", weight="plays", weight_scale="linear")
    conditions = {"positive": (("rating", ">=", 4),), "where": (("n", ">", 0), ("b", "==", "x"))}
    wanted = Files(os.path.abspath("new.csv"), columns=columns, **conditions)
    for verb in ("train", "tune"):
        assert recipe_of(build_parser().parse_args([verb, "plain", *options])).source == wanted
    known = dataclasses.replace(recipes.load("plain"), source=Files("old.csv", users_path="u.csv", delimiter=";"))
    args = build_parser().parse_args(["update", "RUN", *options, "--set", "rejected_limit=0.5"])
    assert source_of(args, known) == (dataclasses.replace(wanted, delimiter=";"), 0.5)


@pytest.mark.parametrize(("options", "message"), [
    (["--where", "n"], "`--where` must look like COLUMN OPERATOR VALUE"),
    (["--time-unit", "days"], "`Columns.time_unit` must be"),
    (["--set", "model.dim=3"], "`--set` must name a field of source, or rejected_limit"),
])
def test_an_update_refuses_what_it_cannot_read(options, message):
    args = build_parser().parse_args(["update", "RUN", "--interactions", "new.csv", *options])
    with pytest.raises(ConfigError, match=message):
        source_of(args, recipes.load("retail"))
    args = build_parser().parse_args(["update", "RUN", "--label", "liked", "--set", "source.delimiter=;"])
    with pytest.raises(ConfigError, match="label, source.delimiter=; can only be given with new events"):
        source_of(args, recipes.load("retail"))
