"""The runs of a folder, each in one line, without TensorFlow."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from tfrs_twotower.pipeline.headline import headline, sentence


@dataclasses.dataclass(frozen=True, repr=False)
class Listed:
    """A run, which prints as one line.

    Attributes:
      run: `recipe/time`, its folder.
      latest: whether `latest` points to it.
      state: why it has no figures, or has not passed its gate; None: it has both.
      headline: the `headline` of its `metrics.json`; None without one.
    """

    run: str
    latest: bool
    state: str | None = None
    headline: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `headline` is left out if there is none."""
        return {name: value for name, value in vars(self).items() if name != "headline" or value is not None}

    def line(self, width: int = 0) -> str:
        """One line, with the name padded to `width` characters."""
        said = self.state or sentence(self.headline)  # type: ignore[arg-type]  # without a state there is a headline
        return f"{'*' if self.latest else ' '} {self.run.ljust(width)}  {said}"

    def __repr__(self) -> str:
        return self.line()


def listed(root: str | os.PathLike[str]) -> list[Listed]:
    """The runs under a folder of runs, the newest first."""
    folders = [path.parent for path in Path(root).glob("*/*/config.json") if not path.parent.is_symlink()]
    return [_described(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)]


def _described(folder: Path) -> Listed:
    name, latest = f"{folder.parent.name}/{folder.name}", folder.parent / "latest"
    is_latest, found = latest.exists() and latest.resolve() == folder.resolve(), None
    try:
        metric = json.loads((folder / "config.json").read_text(encoding="utf-8"))["recipe"]["training"]["monitor"]
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        found = headline(metrics, metric)
        refused = f"did not pass its gate: {sentence(found)}" if (folder / "refused.json").exists() else None
        return Listed(name, is_latest, refused, found)
    except FileNotFoundError:
        state = "was not evaluated: it is training, or was stopped"
    except (OSError, ValueError, KeyError, TypeError) as error:
        state = f"its files cannot be read ({error!r})"
    return Listed(name, is_latest, state, found)
