"""`twotower inspect`: the contents of a run or an export, without loading TensorFlow."""

import argparse
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.cli import options
from tfrs_twotower.errors import ConfigError

DESCRIPTION = """\
Prints the contents of a run or an exported version: features, sizes, index, metrics, versions.

  twotower inspect runs/movielens/latest
  twotower inspect runs/movielens/latest/export/1 --json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "inspect", run, "print the contents of a run or an export", DESCRIPTION)
    parser.add_argument("path", metavar="PATH", help="a run's folder, or a version's folder of an export")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Prints."""
    path = Path(args.path)
    found = {
        name: _read(path / f"{name}.json")
        for name in ("manifest", "config", "metrics") if (path / f"{name}.json").is_file()
    }
    if not found:
        raise ConfigError(
            f"`PATH` must be a run or an exported version. Received: {args.path}, which has no manifest.json and no "
            "config.json. Name for example runs/movielens/latest or runs/movielens/latest/export/1."
        )
    missing = [name for name in found.get("manifest", {}).get("files", ()) if not (path / name).is_file()]
    if missing:
        raise ConfigError(
            f"{path} is not whole: its manifest names {', '.join(missing[:3])}{' …' * (len(missing) > 3)}, which "
            "cannot be found. A server would refuse it. Export again."
        )
    if args.json:
        print(json.dumps(found, indent=2))
        return
    try:
        if "manifest" in found:
            _print_manifest(found["manifest"])
        if "config" in found:
            _print_recipe(found["config"]["recipe"], found.get("metrics"))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path} holds files that this version did not write: {error!r} is missing.") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error


def _print_manifest(manifest: Mapping[str, Any]) -> None:
    index = manifest["index"]
    recall = f"recall@{index['k']}"
    print(f"model            {manifest['model']}, version {manifest['version']}, of {manifest['created']}")
    print(f"flavour          {manifest['flavour']}" + (" (needs ScaNN's op)" if manifest["custom_op_library"] else ""))
    print(f"embedding space  {manifest['embedding_space']}")
    print(f"catalogue        {manifest['catalogue']['items']:,} items, {manifest['catalogue']['dim']} dimensions")
    trained = manifest.get("trained_on")
    if trained:
        until = datetime.datetime.fromtimestamp(trained["until"], datetime.timezone.utc)
        moment = f" until {until:%Y-%m-%d %H:%M}" if trained["until"] else ""  # a log without times has 0
        print(f"trained on       {trained['events']:,} events{moment}; the evaluated one without "
              f"{trained['held_out']:,} held-out ones")
    print(f"popularity       weighs {manifest.get('popularity_weight', 0.0):g} in the score")
    print(f"neighbours       weigh {manifest.get('neighbour_weight', 0.0):g} in the score")
    print(f"repeats          weigh {manifest.get('repeat_weight', 0.0):g} in the score")
    print(f"index            {index['kind']}, recall@{index['k']} {index[recall]:.3f}, {index['settings']}")
    print(f"files            {len(manifest['files'])}, each with its SHA-256")
    _print_schema(manifest["schema"])


def _print_recipe(recipe: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> None:
    print(f"recipe           {recipe['name']}")
    _print_schema(recipe["schema"])
    training = recipe["training"]
    print(f"training         batch {training['batch_size']}, ≤ {training['epochs']} epochs, seed {training['seed']}")
    if metrics:
        print("test             " + ", ".join(f"{k} {v:.4f}" for k, v in metrics["test"].items()))
        print_field_weights(metrics.get("field_weights", {}))


def print_field_weights(weights: Mapping[str, Mapping[str, float]]) -> None:
    """Prints {side: {field: mean weight}}, the largest first; nothing if no encoder weighs its fields."""
    for side, fields in weights.items():
        if fields:
            ranked = sorted(fields.items(), key=lambda field: -field[1])
            print(f"{side} weights".ljust(17) + ", ".join(f"{name} {weight:.2f}" for name, weight in ranked))


def _print_schema(schema: Mapping[str, Any]) -> None:
    for side in ("query", "candidate"):
        features = [f"{f['type']}({f.get('column') or ', '.join(f.get('columns', ()))})" for f in schema[side]]
        print(f"{side.ljust(16)} {', '.join(features)}")
