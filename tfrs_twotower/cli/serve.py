"""`twotower serve`: a local server that speaks TF Serving's REST and gRPC."""

import argparse
import dataclasses
import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_twotower.cli import exploring, options, serve_options
from tfrs_twotower.errors import ConfigError, invalid

if TYPE_CHECKING:
    from tfrs_twotower.exploration import ExploredItems
    from tfrs_twotower.freshness import FreshItems
    from tfrs_twotower.online.stream_consumer import Stream

_KAFKA = "kafka://"
# Not by -m, which would look for modules in the current folder first.
_MAIN = "import sys; sys.path[:] = {!r}; from tfrs_twotower.cli.main import main; sys.exit(main())"
_LAST_SECONDS = 20.0  # for what a process does after its last answer, such as closing its stores
DESCRIPTION = """\
Serves the newest version under EXPORT_ROOT. It swaps to each newer version that appears there, without losing a
request. EXPORT_ROOT may go through a link, such as `latest`; the server follows it to another run.

  twotower serve runs/movielens/latest/export
  curl -d '{"inputs": {"item_id": ["50"], "k": 5}, "signature_name": "similar_items"}' \\
      localhost:8501/v1/models/movielens:predict

REST as TF Serving's:    /v1/models/NAME[/versions/N][:predict | /metadata], /monitoring/prometheus/metrics
gRPC as TF Serving's:    PredictionService and ModelService

With a store, the server knows its users. A request then needs no more than a user_id, and the server records events.
Fill the store from a run's log, serve, record an event of user 42, and ask for recommendations:

  twotower load runs/movielens/latest --store sqlite:store.db
  twotower serve runs/movielens/latest/export --store sqlite:store.db --cache 100000
  curl -d '{"events": [{"event_id": "e1", "user_id": "42", "item_id": "50"}]}' localhost:8501/v1/events
  curl -d '{"inputs": {"user_id": ["42"]}}' localhost:8501/v1/models/movielens:predict

The inputs of a request replace those of the store. An unknown user gets an answer too.
Seen items are left out if the model was evaluated in this way; "exclude_ids": [[]] includes them again.
An event is on disk before the server answers. An event_id counts once, so a request may be sent again. Optional are
`timestamp` (seconds since 1970; default: now) and `event` (its type). Over gRPC: twotower.Events/Record, the same JSON
as google.protobuf.Struct. `twotower consume` records from a Redis stream.

If a store, a cache or the items log fails, also at the start, requests are answered without it: users as unknown ones.
/readyz then says `degraded: store`, with status 200. When it works again, nothing has to be restarted.

Under load, --concurrency requests run and --queue requests wait. A further one is refused with 429 (gRPC:
RESOURCE_EXHAUSTED). One that waits longer than --deadline gets 504 (DEADLINE_EXCEEDED). Events have a queue of their
own with the same limits. A request of many rows runs in blocks, and others run in between. It ends when its client
goes away. After SIGTERM, /readyz and new requests get 503 (UNAVAILABLE); earlier ones are answered.

One process uses little more than one processor. --processes N starts N of them on the same two ports. Each has the
model and its own limits, and keeps its answers in a folder of its own inside that of --log-requests. One that dies is
started again.

With --log-requests FOLDER, each answer that consists of items gets an id and is kept with the query's features, so that
`twotower collect` finds what was shown and not chosen. An answer waits until the disk has it. Events name their answer:
`"answer": "…"`. What the user saw of it may be told: places from 0 on, and what a later stage left out:

  curl -d '{"impressions": [{"answer_id": "…", "places": [0, 1, 2], "dropped": [3]}]}' localhost:8501/v1/impressions

If that disk fails, requests are answered and not kept (`degraded: answers`). Over gRPC: twotower.Impressions/Record.

With an items log, items are added, changed and withdrawn while the server runs. An answer that begins after a
withdrawal does not have the item:

  twotower serve runs/movielens/latest/export --items-log items
  curl -d '{"changed": [{"item_id": "9001", "movie_title": "New"}], "withdrawn": ["50"]}' localhost:8501/v1/items

An item's vector is made from the features in its event. The event stays, for later versions too, until the item changes
again. Over gRPC: twotower.Items/Change. With an items log, a version with a reranker is refused, as it cannot merge
changes in.

On an address of this machine, http://localhost:8501/ is a page that shows the answers, and /docs describes the
interface. On another address the page needs --page, and asks for a key if there is --api-key-file.

/v1/recommend answers one user by the rules of the request (docs/operations.md has all rules). Over gRPC:
twotower.Recommender/Recommend:

  curl -d '{"user_id": "42", "k": 10, "exclude_seen": true, "allow": {"movie_genres": ["Comedy"]},
            "channels": {"i2i": 2, "popular": 1}, "diversity": 0.3}' localhost:8501/v1/recommend
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "serve", run, "answer over REST and gRPC on this machine", DESCRIPTION)
    parser.add_argument("root", metavar="EXPORT_ROOT",
                        help="the folder of all versions, such as runs/movielens/latest/export")
    serve_options.add_groups(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Serves until it is stopped; logs the versions that it loads. Returns 1 if requests were cut off."""
    if args.process is not None and args.processes == 1:
        raise ConfigError(f"`--process` is what `--processes` tells its own. Did you mean --processes {args.process}?")
    if args.processes > 1 and args.process is None:
        return _run_processes(args)
    from tfrs_twotower.coldstart import InterestHistory
    from tfrs_twotower.experiments import read_arms
    from tfrs_twotower.exporting import Key
    from tfrs_twotower.freshness import Refresher, open_items
    from tfrs_twotower.online import open_cache
    from tfrs_twotower.serving import Access, Connections, Load, logs, serve, take_part

    if (Path(args.root) / "config.json").is_file():
        rule, way_out = "be the folder of a run's versions, not the run's", f"Serve {Path(args.root) / 'export'}."
        raise ConfigError(invalid("EXPORT_ROOT", rule, args.root, way_out))
    if args.event_types is not None:
        raise ConfigError("`--event-types` is gone: training has to know which events make a history. Write the kinds "
                          "into the recipe, `twotower train … --set 'history_kinds=[\"buy\"]'`, and export again.")
    if args.all_logs:
        _check_all_logs(args)
    logs.set_up(args.log, args.log_level)
    if args.processes > 1:
        take_part(args.processes)
    access = Access(args.api_key_file, args.tls_cert, args.tls_key, args.insecure)
    key = Key.read(args.verify_key) if args.verify_key else None
    stores = options.open_store(args, late=True) if args.store else None
    if args.interests and stores:
        history = InterestHistory(stores.history, stores.profiles, args.interests)
        stores = dataclasses.replace(stores, history=history, picks=args.interests)
    cache = open_cache(args.cache, late=True) if args.cache else None
    load = Load(args.concurrency, args.queue, args.deadline, args.execution_deadline)
    if args.category_means and not args.items_log:
        raise ConfigError("`--category-means` is for items that come while the server runs, so it needs --items-log. "
                          "Name both.")
    fresh: "FreshItems | ExploredItems | None"
    fresh = items = open_items(args.items_log, args.root, args.category_means) if args.items_log else None
    if args.items_from and not args.items_log:
        raise ConfigError("`--items-from` reads item changes, which --items-log keeps. Name both.")
    refresher: tuple[Refresher, ...] = ()
    if stores and items:
        kept = [args.log_requests] if args.log_requests and not args.log_requests.startswith(_KAFKA) else []
        logs_read = [args.all_logs] if args.all_logs else kept
        refresher = (Refresher(items, stores.history, logs_read, stores=stores, within=args.within),)
    stores, fresh, channels, others = exploring.explored(args, stores, fresh)
    arms = read_arms(args.arms) if args.arms else None
    stream = _item_stream(args) if args.items_from else None
    if args.log_behind and not args.log_requests:
        raise ConfigError("`--log-behind` says how answers are kept, so it needs --log-requests. Name both.")
    answers = _answers(args) if args.log_requests else None
    stores, newcomers = exploring.newcomers(args, stores)
    try:
        left = serve(
            args.root, name=args.name, host=args.host, rest_port=args.rest_port, grpc_port=args.grpc_port,
            poll_seconds=args.poll_seconds, stores=stores,
            cold_beta=args.cold_beta, cache=cache, load=load, event_load=load, drain_seconds=args.drain_seconds,
            access=access, connections=Connections(args.connections), fresh=fresh,
            channels=channels, newcomers=newcomers, index=args.index, shard=args.shard, verify_key=key,
            answer_log=answers, arms=arms, item_stream=stream, keep=args.keep, page=args.page,
            page_images=args.page_images, processes=args.processes,
        )
    finally:
        opened: Any  # of classes that share only `close`
        for opened in filter(None, (*refresher, stores, cache, fresh, answers, newcomers, *others)):
            opened.close()
    if left:  # Python would wait for their threads without a limit
        sys.stdout.flush()
        os._exit(1)
    return 0


def _run_processes(args: argparse.Namespace) -> int:
    """Starts the processes, with the arguments of this one."""
    own = {"--items-log": args.items_log, "--archive": args.archive}
    if used := [option for option, value in own.items() if value]:
        way_out = "Leave one of them out, or start servers on ports of their own, each with its folder."
        rule = f"be 1 with {used[0]}, whose folder only one process can open"
        raise ConfigError(invalid("--processes", rule, args.processes, way_out))
    from tfrs_twotower.exporting import Key
    from tfrs_twotower.serving import logs, name_of, serve_in_processes

    logs.set_up(args.log, args.log_level)
    # One that starts later would take the name from another manifest.
    name = args.name or name_of(args.root, Key.read(args.verify_key) if args.verify_key else None)

    def command(number: int, rest_port: int, grpc_port: int) -> list[str]:
        own = ["--process", str(number), "--rest-port", str(rest_port), "--grpc-port", str(grpc_port), "--name", name]
        if args.log_requests and not args.log_requests.startswith(_KAFKA):
            own += ["--log-requests", os.path.join(args.log_requests, str(number))]
        end = args.given.index("--") if "--" in args.given else len(args.given)  # no option comes behind it
        return [sys.executable, "-c", _MAIN.format(sys.path), *args.given[:end], *own, *args.given[end:]]

    return serve_in_processes(
        command, args.processes, args.host, args.rest_port, args.grpc_port, args.drain_seconds + _LAST_SECONDS
    )


def _check_all_logs(args: argparse.Namespace) -> None:
    if not (args.store and args.items_log and args.log_requests):
        raise ConfigError("`--all-logs` is for statistics of items, which need --store, --items-log and "
                          "--log-requests. Name these too.")
    if args.log_requests.startswith(_KAFKA):  # a consumer of the topic has its folder there
        return
    if os.path.realpath(os.path.dirname(os.path.normpath(args.log_requests))) != os.path.realpath(args.all_logs):
        rule, way_out = "lie in the folder of --all-logs", f"For example: {os.path.join(args.all_logs, 'a')}."
        raise ConfigError(invalid("--log-requests", rule, args.log_requests, way_out))


def _answers(args: argparse.Namespace) -> Any:
    """An `AnswerLog`, or `KafkaAnswers` in its place."""
    if not args.log_requests.startswith(_KAFKA):
        from tfrs_twotower.online import AnswerLog
        from tfrs_twotower.online.late import Late

        return Late(lambda: AnswerLog(args.log_requests, not args.log_behind)).part()
    if args.log_behind:
        raise ConfigError("`--log-behind` is for a folder: an answer waits until Kafka has it. Leave one of them out.")
    from tfrs_twotower.online.kafka_answers import KafkaAnswers

    return KafkaAnswers(args.log_requests)


def _item_stream(args: argparse.Namespace) -> "Stream":
    from tfrs_twotower.online.streams import open_stream

    place = f"{socket.gethostname()}:{os.path.realpath(args.items_log)}"
    group = args.items_group or f"twotower-items-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    key = None if args.items_from.startswith("kafka:") else "items"
    return open_stream(args.items_from, key, group)
