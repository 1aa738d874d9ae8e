"""`twotower prepare`, as a user types it, and what other verbs make of its folder."""

import pandas as pd
import pytest

from tfrs_twotower.cli.main import build_parser, main
from tfrs_twotower.cli.prepare import _engine
from tfrs_twotower.cli.reading import newest_files
from tfrs_twotower.cli.training import recipe_of
from tfrs_twotower.cli.update import source_of
from tfrs_twotower.data import DuckDB, Files, Prepared, Spark, joined
from tfrs_twotower.errors import ConfigError

NAMED = ["--user-id", "who", "--label", "stars", "--where", "stars != 9"]


@pytest.fixture
def day(tmp_path):
    """(name, users) -> the path of a file of one event a user."""
    def written(name, users):
        n = len(users)
        rows = {"who": users, "item_id": ["x"] * n, "timestamp": [1_700_000_000] * n, "stars": [1, *[0] * (n - 1)]}
        pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
        return str(tmp_path / name)
    return written


@pytest.fixture
def folder(day, tmp_path):
    assert main(["prepare", f"{tmp_path}/set", "--interactions", day("log.csv", ["a", "b"]), *NAMED]) == 0
    return f"{tmp_path}/set"


def parsed(*args):
    return build_parser().parse_args(args)


def test_it_prints_the_report_and_the_next_step(day, tmp_path, capsys):
    assert main(["prepare", f"{tmp_path}/set", "--interactions", day("log.csv", ["a", "b"]), *NAMED]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "2 of 2 rows kept, 2 users, 1 items" and last.endswith(f"train plain --interactions {tmp_path}/set")
    assert Prepared(f"{tmp_path}/set").manifest.statistics["shown"] == 1


def test_a_training_takes_the_folder_as_a_dataset(folder):
    assert recipe_of(parsed("train", "plain", "--interactions", folder)).source == Prepared(folder)
    with pytest.raises(ConfigError, match="is a prepared dataset.*Received also: where.*Give these to"):
        recipe_of(parsed("train", "plain", "--interactions", folder, "--where", "a > 1"))


def test_an_appended_day_is_read_as_the_first_and_limited_by_its_rules(folder, day, capsys):
    path = day("day.csv", ["c", ""])
    assert main(["prepare", folder, "--append", "--interactions", path, "--rejected-limit", "1"]) == 0
    assert len(Prepared(folder).read()[0]) == 2 and Prepared(folder).rules().limit == 1
    newest = newest_files(Prepared(folder))
    assert newest.columns.label == "stars" and newest.path.endswith("day.csv") and newest.where == (("stars", "!=", 9),)
    assert main(["prepare", folder, "--append", "--interactions", path]) == 1
    assert "The log has these already" in capsys.readouterr().err


def test_an_update_of_a_run_on_it_reads_new_files_as_its_own(folder, day):
    recipe = recipe_of(parsed("train", "plain", "--interactions", folder))
    source, _ = source_of(parsed("update", "runs/x", "--interactions", day("day.csv", ["c"])), recipe)
    assert isinstance(source, Files) and source.columns.user_id == "who"
    with pytest.raises(ConfigError, match="The log has these already"):
        joined(recipe.source, newest_files(recipe.source))


@pytest.mark.parametrize("args, message", [
    ([], "`--interactions` must name your log"),
    (["--interactions", "x", "--spark", "a=b"], "`--spark` does not belong to `--engine duckdb`"),
    (["--interactions", "x", "--engine", "spark", "--memory", "1GB"], "`--memory` does not belong to `--engine spark`"),
    (["--interactions", "x", "--engine", "spark", "--spark", "ab"], "`--spark` must look like NAME=VALUE"),
    (["--interactions", "x", "--append"], "is no prepared dataset"),
    (["--interactions", "nothing-there"], "There are none: check the path"),
])
def test_what_cannot_be_done_is_said_in_a_line(args, message, tmp_path, capsys):
    assert main(["prepare", f"{tmp_path}/new", *args]) == 1
    assert message in capsys.readouterr().err


def test_the_engines():
    assert _engine(parsed("prepare", "f")) == DuckDB("1GB")
    assert _engine(parsed("prepare", "f", "--memory", "2GB")) == DuckDB("2GB")
    spark = parsed("prepare", "f", "--engine", "spark", "--spark", "spark.master=local[2]", "--spark", "a=b=c")
    assert _engine(spark) == Spark((("spark.master", "local[2]"), ("a", "b=c")))


def test_an_address_stays_as_it_is():
    assert recipe_of(parsed("train", "plain", "--interactions", "s3://b/log")).source.path == "s3://b/log"
