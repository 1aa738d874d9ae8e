"""`twotower serve`: a local server that speaks TF Serving's REST and gRPC."""

import logging

from tfrs_twotower.cli import options

DESCRIPTION = """\
Serves the newest version under EXPORT_ROOT, and each newer one that appears there, without losing a request.
EXPORT_ROOT may go through a link, such as `latest`: it is followed when it moves to another run.

  twotower serve runs/movielens/latest/export
  curl -d '{"inputs": {"item_id": ["50"], "k": 5}, "signature_name": "similar_items"}' \\
      localhost:8501/v1/models/movielens:predict

REST as TF Serving's:    /v1/models/NAME[/versions/N][:predict | /metadata], /monitoring/prometheus/metrics
gRPC as TF Serving's:    PredictionService and ModelService
"""


def add_parser(subparsers):
    """Adds the verb."""
    parser = options.verb(subparsers, "serve", run, "answer over REST and gRPC on this machine", DESCRIPTION)
    parser.add_argument("root", metavar="EXPORT_ROOT", help="all versions' folder, as runs/movielens/latest/export")
    parser.add_argument("--name", help="the model's name in requests (default: the one in the export's manifest)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1, this machine only)")
    parser.add_argument("--rest-port", type=int, default=8501, help="default: 8501; 0 takes a free one")
    parser.add_argument("--grpc-port", type=int, default=8500, help="default: 8500; 0 takes a free one")
    parser.add_argument("--poll-seconds", type=float, default=1.0, help="how often new versions are looked for")
    return parser


def run(args):
    """Serves until it is stopped; says which versions come in."""
    from tfrs_twotower.serving import serve

    logging.basicConfig(format="%(message)s")
    logging.getLogger("tfrs_twotower.serving").setLevel(logging.INFO)
    return serve(
        args.root, name=args.name, host=args.host, rest_port=args.rest_port, grpc_port=args.grpc_port,
        poll_seconds=args.poll_seconds,
    )
