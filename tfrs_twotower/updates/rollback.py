"""Publishes an earlier version again, under the next number."""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.durable import written_aside
from tfrs_twotower.errors import ExportError, invalid
from tfrs_twotower.exporting import MANIFEST, Key, Seal, integrity, manifest, user_deltas
from tfrs_twotower.exporting.publishing import RECORD, check_signed, link_tree, manifests, new_version
from tfrs_twotower.pipeline import runs

_BEGUN = ".rollback-begun"  # holds the number that a rollback publishes, until it is done


@dataclasses.dataclass(frozen=True)
class Rollback:
    """The outcome of a rollback.

    Attributes:
      published: the new version's path.
      copy_of: the first number of the version whose files it has.
      replaced: the first number of the version that served before; rolling back to it undoes this rollback.
    """

    published: Path
    copy_of: int
    replaced: int


def roll_back(path: str | Path, to: int | None = None, key: Key | None = None) -> Rollback:
    """Publishes an earlier version again, under the next number, so that all servers that follow `latest` load it.

    The new version has the files of the earlier one (hard links), with its rows of users, and its own manifest with
    the field `rollback`. For a run, `latest` then points to the version's run, so that updates continue from there. If
    it is stopped at any point, one of the two versions serves, and it can be run again: that finishes what was begun,
    and does not go back once more.

    Args:
      path: a run or a folder of versions. For a run, all runs beside it are searched, and `latest` among them serves.
      to: the number of the version to serve again. By default the previous version, without versions that were rolled
        back since.
      key: the `Key` that signs the new version. It must have signed the earlier one, and its rows of users.

    Returns:
      A `Rollback`.

    Raises:
      ExportError: there is no such version, it serves already, its files are damaged, or `key` did not sign them; or
        what serves is signed and there is no `key`.
    """
    serving, roots = _roots(Path(path).resolve())
    versions = {number: (root, contents) for root in roots for number, contents in manifests(root).items()}
    current = max(manifests(serving), default=None)
    if current is None:
        raise ExportError(invalid("path", "hold an exported version", str(serving), "Name a run or an export root."))
    check_signed(serving, key)
    stopped = _stopped(versions, to)
    if stopped is not None:
        return _done(stopped)
    origins = {number: _origin(number, contents) for number, (_, contents) in versions.items()}
    replaced = origins[current]
    wanted = _previous(versions, origins, replaced) if to is None else _named(origins, to, replaced)
    source = max(number for number, origin in origins.items() if origin == wanted)  # has the newest rows of users
    root = versions[source][0]
    integrity.check(root / str(source), key, source)
    contents, identity = manifest.identified(root / str(source), key)
    seal = None if key is None else Seal(key, identity)
    if seal is not None:
        user_deltas.read(root, source, contents.get("embedding_space"), seal)
    with new_version(root, max(versions) + 1, key) as (aside, version):
        link_tree(root / str(source), aside, leave_out=[MANIFEST, manifest.SIGNATURE])
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        record = {"copy_of": wanted, "replaced": replaced, "at": now}
        manifest.write(aside, {**contents, "version": version, RECORD: record}, contents["files"])
        copied = manifest.identified(aside)[1]
        user_deltas.copy(root, source, version, None if seal is None else (seal, Seal(seal.key, copied)))
        with written_aside(root / _BEGUN) as file:
            file.write(str(version).encode())
    return _done(Rollback(root / str(version), wanted, replaced))


def _stopped(versions: Mapping[int, tuple[Path, Mapping[str, Any]]], to: int | None) -> Rollback | None:
    """The rollback that was stopped after it had published the newest version, if that is the one asked for."""
    version = max(versions)
    root, contents = versions[version]
    record = contents.get(RECORD)
    try:
        begun = (root / _BEGUN).read_text(encoding="utf-8") == str(version)
    except (OSError, ValueError):
        begun = False
    if record is None or not begun or to not in (None, record["copy_of"]):
        return None
    return Rollback(root / str(version), record["copy_of"], record["replaced"])


def _done(rollback: Rollback) -> Rollback:
    root = rollback.published.parent
    if (root.parent / runs.CONFIG).is_file():
        runs.point_latest(root.parent)
    (root / _BEGUN).unlink(missing_ok=True)
    return rollback


def _roots(path: Path) -> tuple[Path, list[Path]]:
    """(the folder of the serving version, all folders of versions to choose from)."""
    if path.name == runs.EXPORT and (path.parent / runs.CONFIG).is_file():
        path = path.parent
    if not (path / runs.CONFIG).is_file():
        return path, [path]
    latest = path.parent / "latest"
    serving = (latest.resolve() if latest.exists() else path) / runs.EXPORT
    return serving, sorted({root.resolve() for root in path.parent.glob(f"*/{runs.EXPORT}")})


def _origin(number: int, contents: Mapping[str, Any]) -> int:
    return contents[RECORD]["copy_of"] if RECORD in contents else number


def _previous(versions: Iterable[int], origins: Mapping[int, int], replaced: int) -> int:
    """The version before `replaced`. Versions form a stack; a rollback removes those above its target."""
    pile = []
    for number in sorted(versions):
        pile = [*_up_to(pile, origins[number]), origins[number]]
    pile = _up_to(pile, replaced)
    if not pile:
        raise ExportError(
            f"There is no version before {replaced} to roll back to: none served, or it was rolled back from. Found: "
            f"{sorted(set(origins.values()))}. Name one by `--to`."
        )
    return pile[-1]


def _up_to(pile: list[int], origin: int) -> list[int]:
    """The stack below `origin`, or all of it if `origin` is not there."""
    return pile[: pile.index(origin)] if origin in pile else pile


def _named(origins: Mapping[int, int], to: int, replaced: int) -> int:
    if to not in origins:
        raise ExportError(invalid("to", "be an existing version", to, f"There are: {sorted(origins)}."))
    if origins[to] == replaced:
        raise ExportError(invalid("to", "not be the serving version", to, "There is nothing to do."))
    return origins[to]
