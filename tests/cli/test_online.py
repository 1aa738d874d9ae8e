"""`twotower load`, and a store behind `twotower serve`, as commands."""

import dataclasses
import inspect
import re

import httpx
import pytest
from forked import twotower

from tests.serving import history_export
from tfrs_twotower.cli.main import build_parser, main
from tfrs_twotower.data import Columns, Files
from tfrs_twotower.exploration import Exploration
from tfrs_twotower.online import Retention, open_stores
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.serving import Connections, Load, Server


@pytest.fixture
def run(tmp_path):
    """A run's folder, as far as `load` reads it: three events of two users."""
    (tmp_path / "log.csv").write_text("who,item_id,timestamp\n7,2,20\n7,3,10\n8,1,5\n")
    (tmp_path / "users.csv").write_text("who,age\n7,30\n8,40\n9,50\n")
    source = Files(str(tmp_path / "log.csv"), str(tmp_path / "users.csv"), columns=Columns(user_id="who"))
    (tmp_path / "run").mkdir()
    runs.write_config(tmp_path / "run", runs.RunConfig(Recipe(name="r", source=source), "space", "fingerprint", 0))
    return tmp_path / "run"


def test_load_puts_a_runs_users_into_a_store(run, tmp_path, capsys):
    address = f"sqlite:{tmp_path}/store.db"
    for new in (3, 0):
        assert main(["load", str(run), "--store", address]) == 0
        assert capsys.readouterr().out == f"3 users' columns and {new} new events of 3 are in {address}.\n"
    assert main(["load", str(run), "--store", address, "--once"]) == 0
    assert capsys.readouterr().out == f"The log of {run} is in {address} already.\n"
    stores = open_stores(address)
    assert [e.item_id for e in stores.history.last(["7"], 9)[0]] == ["3", "2"]
    assert stores.profiles.get(["9"]) == [{"age": 50}]
    stores.close()


def test_what_the_logs_of_all_servers_need_is_said_before_anything_is_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["serve", "export", "--all-logs", "logs", "--log-requests", "logs/deep/a"]
    assert main(command) == 1
    assert "Name these too" in capsys.readouterr().err
    assert main([*command, "--store", "sqlite:s.db", "--items-log", "items"]) == 1
    said = "`--log-requests` must lie in the folder of --all-logs. Received: --log-requests='logs/deep/a'."
    assert f"{said} For example: logs/a." in capsys.readouterr().err
    assert main([*command[:-1], "kafka://localhost:9092/a", "--all-logs", "l", "--items-log", "i"]) == 1
    assert "Name these too" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_load_keeps_what_it_is_told_to_keep_and_says_what_did_not_stay(run, tmp_path, capsys):
    address = f"sqlite:{tmp_path}/store.db"
    for _ in range(2):
        assert main(["load", str(run), "--store", address, "--keep-events", "1"]) == 0
        assert capsys.readouterr().out == (
            f"3 users' columns and 2 events of 3 are in {address}.\nLeft out: 1. The store keeps each user's newest "
            "events, at most 1 (--keep-events), and none that lies more than a day ahead.\n"
        )
    stores = open_stores(address)
    assert [e.item_id for e in stores.history.last(["7"], 9)[0]] == ["2"]
    stores.close()


def test_load_says_how_many_events_are_too_old(run, tmp_path, capsys):
    assert main(["load", str(run), "--store", f"sqlite:{tmp_path}/store.db", "--keep-days", "30"]) == 0
    said = capsys.readouterr().out
    assert "0 events of 3 are in" in said and "Left out: 3." in said and "of the last 30 days (--keep-days)" in said


def test_a_run_on_frames_says_what_to_do(tmp_path, capsys):
    runs.write_config(tmp_path, runs.RunConfig(Recipe(name="r"), "space", "fingerprint", 0))
    assert main(["load", str(tmp_path), "--store", f"sqlite:{tmp_path}/s.db"]) == 1
    assert "trained on frames" in capsys.readouterr().err


def test_serve_has_the_librarys_defaults():
    args, library = build_parser().parse_args(["serve", "export"]), inspect.signature(Server).parameters
    given = (args.concurrency, args.queue, args.deadline, args.execution_deadline)
    assert given == dataclasses.astuple(Load())
    assert (args.explore_share, args.explore_cap) == (Exploration().share, Exploration().cap)
    assert args.connections == Connections().most and args.keep_events == Retention().events
    for name in ("host", "rest_port", "grpc_port", "poll_seconds", "drain_seconds", "cold_beta"):
        assert getattr(args, name) == library[name].default, name


def test_each_option_of_serve_stands_in_a_group_of_its_help():
    help_ = build_parser()._subparsers._group_actions[0].choices["serve"].format_help()
    parts = {title: part for title, _, part in (one.partition(":") for one in help_.split("\n\n"))}
    assert "--import MODULE" in parts["options"] and parts["options"].count("\n  -") == 2
    for title, option in (("users", "--cache"), ("items that come, change and go", "--items-from"),
                          ("answers", "--newcomers"), ("the served model", "--keep N")):
        assert f"\n  {option}" in parts[title]


def test_serve_and_load_refuse_an_address_in_one_line(run, tmp_path, capsys):
    for command in (["load", str(run)], ["serve", str(tmp_path)]):
        assert main([*command, "--store", "store.db"]) == 1
        assert capsys.readouterr().err.startswith("twotower: A store's address must be sqlite:PATH or")
    assert main(["serve", str(tmp_path), "--event-types", "buy"]) == 1
    assert "'history_kinds=[\"buy\"]'" in capsys.readouterr().err
    assert main(["serve", str(tmp_path), "--cache", "many"]) == 1
    assert capsys.readouterr().err.startswith("twotower: A cache's address must be a number")


def test_a_served_store_is_loaded_asked_and_told(run, tmp_path):
    root = tmp_path / "exports"
    history_export.write(root, 1, histories={"history": {"kinds": ["buy", ""], "events": 3}})
    address = f"sqlite:{tmp_path}/store.db"
    process = twotower("serve", root, "--rest-port", 0, "--grpc-port", 0, "--store", address, "--cache", 100)
    try:
        base = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]

        def best():
            body = {"inputs": {"user_id": [7], "k": 1}}
            return httpx.post(base + "/v1/models/twotower:predict", json=body).json()["outputs"]["ids"]

        assert best() == best() == [[4]]
        assert main(["load", str(run), "--store", address]) == 0  # another process; the server sees it at once
        assert best() == [[3]]
        events = [{"event_id": f"v{n}", "user_id": 7, "item_id": 1, "event": "view"} for n in range(3)]
        httpx.post(base + "/v1/events", json={"events": events}).raise_for_status()
        assert best() == [[3]]  # views do not count here
        events = [{"event_id": f"b{n}", "user_id": 7, "item_id": 1, "event": "buy"} for n in range(2)]
        httpx.post(base + "/v1/events", json={"events": events}).raise_for_status()
        assert best() == [[1]]
        assert 'twotower_vector_cache_lookups_total{result="hit"} 2.0' in httpx.get(base + "/metrics").text
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
        process.stderr.close()


def test_serve_starts_while_store_and_cache_are_down(history_root):
    process = twotower("serve", history_root, "--rest-port", 0, "--grpc-port", 0, "--store", "redis://127.0.0.1:1/0",
                       "--cache", "redis://127.0.0.1:1/1")
    try:
        base = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        response = httpx.get(base + "/readyz")
        assert (response.status_code, response.text) == (200, "degraded: cache, profiles, store\n")
        body = {"inputs": {"user_id": [7], "k": 1}}
        assert httpx.post(base + "/v1/models/twotower:predict", json=body, timeout=60).status_code == 200
    finally:
        process.terminate()
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0 and said.count("Degraded: store fails: The Redis server at") == 1


@pytest.fixture(scope="module")
def history_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("exports")
    history_export.write(root, 1)
    return root
