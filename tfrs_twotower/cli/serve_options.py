"""The options of `twotower serve`, in groups."""

import argparse
import os

from tfrs_twotower.cli import exploring, options


def add_groups(parser: argparse.ArgumentParser) -> None:
    """Adds all options of the verb."""
    _model(parser.add_argument_group("the served model"))
    _users(parser.add_argument_group("users: their events, columns and vectors"))
    _items(parser.add_argument_group("items that come, change and go"))
    _answers(parser.add_argument_group("answers: their log, arms, new items and newcomers"))
    _page(parser.add_argument_group("page: what the server answers, at /"))
    _load(parser.add_argument_group("load"))
    _access(parser.add_argument_group("access and encryption"))
    _log(parser.add_argument_group("log, on standard error"))


def _model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", help="the model's name in requests (default: the one in the export's manifest)")
    group.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s, this machine only)")
    group.add_argument("--rest-port", type=int, default=8501, help="default: %(default)s; 0 takes a free one")
    group.add_argument("--grpc-port", type=int, default=8500, help="default: %(default)s; 0 takes a free one")
    group.add_argument("--poll-seconds", type=float, default=1.0,
                       help="seconds between looks for new versions (default: %(default)s)")
    group.add_argument("--keep", type=options.positive, default=1, metavar="N",
                       help="serve the newest N versions, for requests that name one (default: %(default)s)")
    group.add_argument("--index", metavar="KIND",
                       help="search by an index outside of the SavedModel: faiss_ivf, faiss_ivfpq, faiss_hnsw, "
                       "milvus:FILE.db, milvus:http://HOST:19530 or module.Class. An index that the export does not "
                       "bring is built when a version is loaded; shards:HOST:PORT,HOST:PORT asks the servers of an "
                       "export's shards, by their gRPC ports (default: the export's index)")
    group.add_argument("--shard", metavar="I/N",
                       help="of an export whose index is in N shards, hold part I (from 1 on) in place of the model, "
                       "and answer the searches of a server with --index shards:…")


def _users(group: argparse._ArgumentGroup) -> None:
    options.add_store(group, required=False)
    group.add_argument("--event-types", nargs="*", help=argparse.SUPPRESS)  # of 0.2.0; see `run`
    group.add_argument("--interests", metavar="COLUMN",
                       help="with --store: a column of the profiles with the item ids that a user picked at sign-up; "
                       "they are the user's history until the first event that the model reads")
    group.add_argument("--cold-beta", type=float, default=0.0, metavar="BETA",
                       help="with --store: the popularity_beta of requests that have none, for users without a "
                       "history; below 0 popular items rank higher (default: %(default)s)")
    group.add_argument("--cache", metavar="N|URL",
                       help="cache query vectors: N of them in this process, or for an hour in Redis, redis://HOST/1; "
                       "a vector is used again until the user's data, the minute or the model changes")


def _items(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--items-log", metavar="FOLDER",
                       help="accept item changes at /v1/items and keep them here; one folder per server")
    group.add_argument("--category-means", metavar="COLUMN",
                       help="with --items-log: an item that the version was not trained with gets the mean vector of "
                       "the items with its values of this column, in place of the vector of its features")
    group.add_argument("--items-from", metavar="ADDRESS",
                       help="with --items-log: read item changes from a stream too, kafka://HOST:PORT/TOPIC or "
                       "redis://HOST:PORT/DB (its key is `items`). An entry is a request of /v1/items")
    group.add_argument("--items-group", metavar="GROUP",
                       help="with --items-from: the consumer group; each server needs one of its own (default: one "
                       "for this host and folder)")


def _answers(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--log-requests", metavar="FOLDER|TOPIC",
                       help="keep each answer that consists of items here, with its id, the query's features and the "
                       "items: the last hour in SQLite, earlier ones in Parquet; one folder per server. "
                       "kafka://HOST:PORT/TOPIC sends them to a topic instead")
    group.add_argument("--log-behind", action="store_true",
                       help="with --log-requests: answers do not wait until the disk has them, and a process that "
                       "dies loses those of its last moments")
    group.add_argument("--all-logs", metavar="FOLDER",
                       help="with --items-log: the folder that holds the --log-requests of all servers of this "
                       "machine; statistics of items then count what all of them showed (default: what this one "
                       "showed)")
    group.add_argument("--within", type=options.positive, default=3600, metavar="SECONDS",
                       help="for statistics of items: how long after an answer an event counts as its choice, as for "
                       "the `collect` whose log the model was trained on (default: %(default)s)")
    group.add_argument("--arms", metavar="FILE",
                       help="an experiment: a JSON file of arms, between which users are split by a salted hash "
                       "(docs/operations.md); `twotower experiment` compares them")
    exploring.add_arguments(group)


def _page(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--page", action=argparse.BooleanOptionalAction, default=None,
                       help="show it on this address (default: on an address of this machine alone)")
    group.add_argument("--page-images", default="", metavar="ORIGIN",
                       help="let it load the items' pictures from here, such as https://cdn.example (default: none)")


def _load(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--processes", type=options.positive, default=1, metavar="N",
                       help="processes that answer on the two ports; each holds the model, and the limits here are "
                       "those of each (default: %(default)s)")
    group.add_argument("--process", type=int, help=argparse.SUPPRESS)  # the number of such a process
    group.add_argument("--concurrency", type=options.positive, default=max(8, 2 * (os.cpu_count() or 0)),
                       metavar="N", help="requests that run at a time (default: twice the processors, at least 8)")
    group.add_argument("--queue", type=int, default=128, metavar="N", help="requests that wait (default: %(default)s)")
    group.add_argument("--deadline", type=float, default=2.0, metavar="SECONDS",
                       help="how long a request may wait for its turn (default: %(default)s)")
    group.add_argument("--execution-deadline", type=float, default=30.0, metavar="SECONDS",
                       help="how long a large request, which runs in blocks, may take (default: %(default)s)")
    group.add_argument("--connections", type=options.positive, default=1000, metavar="N",
                       help="open REST connections, TLS handshakes, gRPC connections and gRPC calls: as many of each "
                       "(default: %(default)s)")
    group.add_argument("--drain-seconds", type=float, default=10.0, metavar="SECONDS",
                       help="how long a stopping server waits for requests (default: %(default)s)")


def _access(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--api-key-file", metavar="FILE", help="a file of keys, one per line; requests carry one as "
                       "`Authorization: Bearer KEY` (gRPC: metadata), except for /healthz and /readyz")
    group.add_argument("--tls-cert", metavar="FILE", help="PEM: the certificate, for REST and gRPC both")
    group.add_argument("--tls-key", metavar="FILE", help="PEM: its private key, without a password")
    group.add_argument("--verify-key", metavar="FILE", help="serve only what was published with --sign-key and the "
                       "key in this file, for the model --name: versions and rows of users. Anything else is refused")
    group.add_argument("--insecure", action="store_true", help="accept requests of other machines without a key")


def _log(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--log", choices=("text", "json"), default="text",
                       help="json: one object per line, also for each request (its id, method, signature, status, "
                       "milliseconds, version); default: %(default)s")
    group.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info",
                       help="debug logs each request in text too; default: %(default)s")
