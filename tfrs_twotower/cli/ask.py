"""`twotower ask`: questions to a stranger, and recommendations by the answers."""

import argparse
import json
import sys

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Asks a stranger about the items whose answers tell most, and prints recommendations by the answers. Each question
depends on the answers before it. y: I like it; n: I do not; ?, or nothing: I do not know it; q: enough.

  twotower ask runs/movielens/latest -n 15

Without a terminal, or to go on after earlier answers, give the answers so far. --json prints the next questions and the
recommendations:

  twotower ask runs/movielens/latest -n 3 --likes 50 181 --dislikes 1 --asked 7 --json

A server does the same: GET and POST /v1/elicit, and `likes` and `dislikes` in /v1/recommend (docs/cold_start.md).
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "ask", run, "ask a stranger what they like, and recommend", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("-n", type=options.positive, default=15, help="questions (default: 15)")
    parser.add_argument("-k", type=options.positive, default=10, help="items recommended (default: 10)")
    whats = {"likes": "likes", "dislikes": "does not like", "asked": "was asked about and does not know"}
    for name, what in whats.items():
        parser.add_argument(f"--{name}", metavar="ITEM", nargs="+", default=[], help=f"items that the person {what}")
    parser.add_argument("--json", action="store_true", help="ask nothing; print questions and recommendations as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Asks."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.recommender import Recommender

    stranger = Recommender.load(directory).stranger(args.likes, args.dislikes, args.asked)
    if args.json:
        answers = {"questions": stranger.questions(args.n), "recommendations": stranger.recommend(args.k)}
        print(json.dumps({name: json.loads(frame.to_json(orient="records")) for name, frame in answers.items()},
                         indent=2))
        return
    for place in range(1, args.n + 1):
        asked = stranger.questions(1)
        if not len(asked):
            break
        said = _answer(f"{place}. {asked.iloc[0].get('title', asked.iloc[0]['item_id'])}? [y/n/?/q] ")
        if said == "q":
            break
        stranger.answer(asked.iloc[0]["item_id"], {"y": True, "n": False}.get(said))
    print()
    options.print_frame(stranger.recommend(args.k), False)


def _answer(question: str) -> str:
    """y, n, ? or q: what a person types, or q at the end of the input."""
    while True:
        print(question, end="", flush=True)
        line = sys.stdin.readline()
        said = line.strip().lower()[:1] or "?"
        if not line:
            return "q"
        if said in "yn?q":
            return said
