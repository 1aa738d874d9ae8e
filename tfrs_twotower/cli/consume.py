"""`twotower consume`: events from a stream, of Redis or Kafka, into a store."""

import argparse
import logging
import signal
import threading

from tfrs_twotower.cli import options

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
    options.add_store(parser, required=True)
    parser.add_argument("--stream", metavar="KEY", help="the stream's key in Redis (default: events)")
    parser.add_argument("--group", default="twotower", help="the consumer group (default: twotower). A missing group "
                        "is made, and reads the stream from its start")
    parser.add_argument("--name", default="1", help="this consumer's name in its group (default: 1)")
    parser.add_argument("--batch", type=options.positive, default=500, help="entries taken at a time (default: 500)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Consumes until SIGTERM or SIGINT; the entries at hand are finished first."""
    from tfrs_twotower.online import without_password
    from tfrs_twotower.online.stream_consumer import StreamConsumer, events_into
    from tfrs_twotower.online.streams import open_stream

    logging.basicConfig(format="%(message)s")
    stores = options.open_store(args, late=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        stream = open_stream(args.address, args.stream, args.group, args.name, args.batch)
        print(f"Consuming {stream.name} as {args.name} of {args.group} into {without_password(args.store)}", flush=True)
        consumer = StreamConsumer(stream, events_into(stores.history))
        consumer.run(stop)
        print(f"Took {consumer.kept} events in, put {consumer.rejected} entries aside", flush=True)
    finally:
        stores.close()
