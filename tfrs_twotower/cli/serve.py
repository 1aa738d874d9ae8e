"""`twotower serve`: a local server that speaks TF Serving's REST and gRPC."""

import argparse
import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any

from tfrs_twotower.cli import exploring, options
from tfrs_twotower.errors import ConfigError

if TYPE_CHECKING:
    from tfrs_twotower.exploration import ExploredItems
    from tfrs_twotower.freshness import FreshItems

DESCRIPTION = """\
Serves the newest version under EXPORT_ROOT, and each newer one that appears there, without losing a request.
EXPORT_ROOT may go through a link, such as `latest`: it is followed when it moves to another run.

  twotower serve runs/movielens/latest/export
  curl -d '{"inputs": {"item_id": ["50"], "k": 5}, "signature_name": "similar_items"}' \\
      localhost:8501/v1/models/movielens:predict

REST as TF Serving's:    /v1/models/NAME[/versions/N][:predict | /metadata], /monitoring/prometheus/metrics
gRPC as TF Serving's:    PredictionService and ModelService

With a store, the server knows its users: a request needs no more than a user_id, and what users do is recorded.
Fill the store from a run's log, serve, say what user 42 did, and ask:

  twotower load runs/movielens/latest --store sqlite:store.db
  twotower serve runs/movielens/latest/export --store sqlite:store.db --cache 100000
  curl -d '{"events": [{"event_id": "e1", "user_id": "42", "item_id": "50"}]}' localhost:8501/v1/events
  curl -d '{"inputs": {"user_id": ["42"]}}' localhost:8501/v1/models/movielens:predict

What a request carries takes the place of what the store has. A user who is not known is served too.
Seen items are left out if the model was evaluated so; "exclude_ids": [[]] brings them back.
An event is on disk when it is answered, and an event_id counts once, so that a request may be sent again; `timestamp`
(seconds since 1970; default: now) and `event` (its type) may be given. Over gRPC: twotower.Events/Record, the same
JSON as google.protobuf.Struct. `twotower consume` records from a Redis stream.

Under load, --concurrency requests run and --queue wait. One more is refused with 429 (gRPC: RESOURCE_EXHAUSTED), and
one whose turn does not come by --deadline with 504 (DEADLINE_EXCEEDED). Events have a line of their own, as long.
A request of many rows runs in blocks, and others run in between. It ends when its client goes away.
On SIGTERM /readyz says 503, new requests are refused with 503 (UNAVAILABLE), those that run or wait are answered.

With an items log, items come, change and go while it serves; a withdrawn item is in no answer that begins later:

  twotower serve runs/movielens/latest/export --items-log items
  curl -d '{"changed": [{"item_id": "9001", "movie_title": "New"}], "withdrawn": ["50"]}' localhost:8501/v1/items

An item is encoded from the features that its event carries. Events stay, for later versions too, until an item changes
again. Over gRPC: twotower.Items/Change. A version with a reranker is refused then, as it cannot merge changes in.

One user by the rules of the request (docs/operations.md has them all); over gRPC: twotower.Recommender/Recommend:

  curl -d '{"user_id": "42", "k": 10, "exclude_seen": true, "allow": {"movie_genres": ["Comedy"]},
            "channels": {"i2i": 2, "popular": 1}, "diversity": 0.3}' localhost:8501/v1/recommend
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "serve", run, "answer over REST and gRPC on this machine", DESCRIPTION)
    parser.add_argument("root", metavar="EXPORT_ROOT", help="all versions' folder, as runs/movielens/latest/export")
    parser.add_argument("--name", help="the model's name in requests (default: the one in the export's manifest)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s, this machine only)")
    parser.add_argument("--rest-port", type=int, default=8501, help="default: %(default)s; 0 takes a free one")
    parser.add_argument("--grpc-port", type=int, default=8500, help="default: %(default)s; 0 takes a free one")
    parser.add_argument("--poll-seconds", type=float, default=1.0,
                        help="how often new versions are looked for (default: %(default)s)")
    options.add_store(parser, required=False)
    parser.add_argument("--event-types", metavar="TYPE", nargs="+", default=(),
                        help="events of these types alone make a history (default: all)")
    parser.add_argument("--interests", metavar="COLUMN",
                        help="a column of the profiles, a list of item ids that a new user picked: with --store, it is "
                        "their history until their first event")
    parser.add_argument("--cold-beta", type=float, default=0.0, metavar="BETA",
                        help="with --store, the popularity_beta of users without any history, where a request names "
                        "none: below 0 popular items come to the front (default: %(default)s)")
    parser.add_argument("--cache", metavar="N|URL",
                        help="keep query vectors: N of them in this process, or for an hour in Redis, redis://HOST/1. "
                        "A vector is used again until its user, the minute or the model changes")
    parser.add_argument("--items-log", metavar="FOLDER",
                        help="take changed and withdrawn items at /v1/items and keep them here; one server a folder")
    parser.add_argument("--category-means", metavar="COLUMN",
                        help="with --items-log: an item that the version was not trained with gets the mean vector of "
                        "the items that share its values of this column, in place of that of its features")
    parser.add_argument("--index", metavar="KIND",
                        help="search by an index outside of the SavedModel: faiss_ivf, faiss_ivfpq, faiss_hnsw, "
                        "milvus:FILE.db, milvus:http://HOST:19530 or module.Class. What the export does not bring is "
                        "built when a version is loaded (default: as the export has it)")
    exploring.add_arguments(parser)
    load = parser.add_argument_group("load")
    load.add_argument("--concurrency", type=options.positive, default=max(8, 2 * (os.cpu_count() or 0)),
                      metavar="N", help="requests that run at a time (default: twice the processors, at least 8)")
    load.add_argument("--queue", type=int, default=128, metavar="N", help="requests that wait (default: %(default)s)")
    load.add_argument("--deadline", type=float, default=2.0, metavar="SECONDS",
                      help="how long a request waits for its turn (default: %(default)s)")
    load.add_argument("--execution-deadline", type=float, default=30.0, metavar="SECONDS",
                      help="how long a large request, which runs in blocks, may take (default: %(default)s)")
    load.add_argument("--connections", type=options.positive, default=1000, metavar="N",
                      help="open REST connections, and open gRPC calls (default: %(default)s)")
    load.add_argument("--drain-seconds", type=float, default=10.0, metavar="SECONDS",
                      help="how long a server that is told to stop waits for its requests (default: %(default)s)")
    access = parser.add_argument_group("access and encryption")
    access.add_argument("--api-key-file", metavar="FILE", help="a file of keys, one a line; requests then carry one as "
                        "`Authorization: Bearer KEY` (gRPC: metadata), but for /healthz and /readyz")
    access.add_argument("--tls-cert", metavar="FILE", help="PEM: the certificate, for REST and gRPC both")
    access.add_argument("--tls-key", metavar="FILE", help="PEM: its private key, without a password")
    access.add_argument("--insecure", action="store_true", help="listen where other machines reach it without a key")
    log = parser.add_argument_group("log, on standard error")
    log.add_argument("--log", choices=("text", "json"), default="text", help="json: an object a line, with a line a "
                     "request (its id, method, signature, status, milliseconds, version); default: %(default)s")
    log.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info",
                     help="default: %(default)s; debug tells each request in text too")
    return parser


def run(args: argparse.Namespace) -> None:
    """Serves until it is stopped; says which versions come in."""
    from tfrs_twotower.coldstart import InterestHistory
    from tfrs_twotower.freshness import open_items
    from tfrs_twotower.online import open_cache
    from tfrs_twotower.serving import Access, Connections, Load, logs, serve

    logs.set_up(args.log, args.log_level)
    access = Access(args.api_key_file, args.tls_cert, args.tls_key, args.insecure)
    stores = options.open_store(args) if args.store else None
    if args.interests and stores:
        stores = dataclasses.replace(stores, history=InterestHistory(stores.history, stores.profiles, args.interests))
    cache = open_cache(args.cache) if args.cache else None
    load = Load(args.concurrency, args.queue, args.deadline, args.execution_deadline)
    if args.category_means and not args.items_log:
        raise ConfigError("`--category-means` is of items that come while it serves, and needs --items-log. Name both.")
    fresh: "FreshItems | ExploredItems | None"
    fresh = open_items(args.items_log, args.root, args.category_means) if args.items_log else None
    stores, fresh, channels, others = exploring.explored(args, stores, fresh)
    try:
        left = serve(
            args.root, name=args.name, host=args.host, rest_port=args.rest_port, grpc_port=args.grpc_port,
            poll_seconds=args.poll_seconds, stores=stores, event_types=tuple(args.event_types),
            cold_beta=args.cold_beta, cache=cache, load=load, event_load=load, drain_seconds=args.drain_seconds,
            access=access, connections=Connections(args.connections), fresh=fresh,
            channels=channels, index=args.index,
        )
    finally:
        opened: Any  # of classes that have `close` alone in common
        for opened in filter(None, (stores, cache, fresh, *others)):
            opened.close()
    if left:  # Python would wait for their threads, for as long as they take
        sys.stdout.flush()
        os._exit(1)
