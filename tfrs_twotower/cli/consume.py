"""`twotower consume`: events from a stream, of Redis or Kafka, into a store; answers from Kafka into a log."""

import argparse
import concurrent.futures
import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING

from tfrs_twotower.cli import options
from tfrs_twotower.errors import ConfigError, invalid

if TYPE_CHECKING:
    from tfrs_twotower.online.stream_consumer import Stream, StreamConsumer

DESCRIPTION = """\
Reads events from a Redis stream or a Kafka topic, as a member of a consumer group, and puts them into the store of
`twotower serve`. It runs until it is stopped. If it is killed, no event is lost and none counts twice.

  twotower consume redis://localhost:6379/0 --store sqlite:store.db
  redis-cli XADD events '*' user_id 42 item_id 50 event view

  twotower consume kafka://localhost:9092/events --store sqlite:store.db
  echo '{"user_id": 42, "item_id": 50, "event": "view"}' | kafka-console-producer.sh --bootstrap-server \\
      localhost:9092 --topic events

An entry has the fields of an event: user_id and item_id; optional are event_id (default: the entry's own id), timestamp
(seconds since 1970; default: the entry's own time), event (its kind), answer, place, dwell, value and query
(docs/serving.md). In Kafka it is a JSON object. An entry that is no event goes to the stream STREAM:rejected, or to the
topic TOPIC.rejected, with the reason.

With --log-requests in place of --store it reads the answers that servers with `--log-requests kafka://…` send, and the
impressions in the topic TOPIC.seen, and keeps them as such a server's folder does. `collect`, `experiment`, `watch` and
`serve --all-logs` read the folder, or a folder of several. The two topics have the groups GROUP.answers and GROUP.seen:

  twotower consume kafka://localhost:9092/answers --log-requests logs/topic

If the store or the stream's server does not answer, also at the start, it tries again every second.

Several consumers share the work of one group. In Redis each has a name of its own, and if one does not finish an entry
within a minute, another one takes it over. In Kafka the partitions of a dead consumer go to the others when its session
ends.

Settings of the Kafka client, such as security.protocol and passwords, are in the file that TWOTOWER_KAFKA_CONFIG names,
one name=value a line.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "consume", run, "record events from a Redis stream or a Kafka topic", DESCRIPTION)
    parser.add_argument("address", metavar="ADDRESS", help="the stream's server, such as redis://localhost:6379/0, or "
                        "the topic, such as kafka://localhost:9092/events")
    options.add_store(parser, required=False)
    parser.add_argument("--log-requests", metavar="FOLDER", help="keep answers and impressions here, in place of "
                        "events in a store")
    parser.add_argument("--stream", metavar="KEY", help="the stream's key in Redis (default: events)")
    parser.add_argument("--group", default="twotower", help="the consumer group (default: twotower). A missing group "
                        "is made, and reads the stream from its start")
    parser.add_argument("--name", default="1", help="this consumer's name in its group (default: 1)")
    parser.add_argument("--batch", type=options.positive, default=500, help="entries taken at a time (default: 500)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Consumes until SIGTERM or SIGINT; the entries at hand are finished first."""
    if bool(args.store) == bool(args.log_requests):
        raise ConfigError("`twotower consume` keeps events in --store, or answers in --log-requests. Name one of them.")
    logging.basicConfig(format="%(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    (_answers if args.log_requests else _events)(args, stop)


def _events(args: argparse.Namespace, stop: threading.Event) -> None:
    from tfrs_twotower.online import without_password
    from tfrs_twotower.online.stream_consumer import StreamConsumer, events_into

    stores = options.open_store(args, late=True)
    try:
        stream = _stream(args, args.address, args.group)
        print(f"Consuming {stream.name} as {args.name} of {args.group} into {without_password(args.store)}", flush=True)
        consumer = StreamConsumer(stream, events_into(stores.history))
        consumer.run(stop)
        print(f"Took {consumer.kept} events in, put {consumer.rejected} entries aside", flush=True)
    finally:
        stores.close()


def _answers(args: argparse.Namespace, stop: threading.Event) -> None:
    from tfrs_twotower.online import AnswerLog
    from tfrs_twotower.online.answer_stream import answers_into, impressions_into
    from tfrs_twotower.online.stream_consumer import StreamConsumer

    if not args.address.startswith("kafka://"):
        rule = "be a topic if --log-requests is given"
        raise ConfigError(invalid("ADDRESS", rule, args.address, "Servers send answers to Kafka alone."))
    with contextlib.closing(AnswerLog(args.log_requests)) as log:
        # One group for several topics would share all of them anew whenever a consumer of one comes or goes.
        answers = StreamConsumer(_stream(args, args.address, f"{args.group}.answers"), answers_into(log))
        seen = StreamConsumer(_stream(args, f"{args.address}.seen", f"{args.group}.seen"), impressions_into(log))
        print(f"Consuming {args.address} and {args.address}.seen as {args.name} of {args.group} into "
              f"{args.log_requests}", flush=True)
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            done = threads.submit(_run_or_stop, seen, stop)
            _run_or_stop(answers, stop)
            done.result()
        print(f"Took {answers.kept} answers and {seen.kept} impressions in, put {answers.rejected + seen.rejected} "
              "entries aside", flush=True)


def _run_or_stop(consumer: "StreamConsumer", stop: threading.Event) -> None:
    """Neither goes on alone if the other one fails for good."""
    try:
        consumer.run(stop)
    finally:
        stop.set()


def _stream(args: argparse.Namespace, address: str, group: str) -> "Stream":
    from tfrs_twotower.online.streams import open_stream

    return open_stream(address, args.stream, group, args.name, args.batch)
