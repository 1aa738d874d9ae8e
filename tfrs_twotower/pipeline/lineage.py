"""The ancestors of a run."""

from pathlib import Path
from typing import Any

from tfrs_twotower.exporting.publishing import rollbacks
from tfrs_twotower.pipeline import runs


def lineage(directory: str | Path) -> list[dict[str, Any]]:
    """The ancestry of a run: a list of dicts, from this run back to the first training.

    Each has run (its folder's name), code, data (SHA-256 of the log), seed, trained_until and embedding_space (of the
    `weights` that are served), parent (a name or None), refused (true of an update that did not pass its gate) and
    rollbacks (those that made it serve again: `publishing.rollbacks`). If a parent's folder is gone, the chain ends
    with {"run": name, "missing": True}.

    Raises:
      ConfigError: `directory` is not a run.
    """
    chain: list[dict] = []
    following: Path | None = Path(directory).resolve()
    while following:
        if chain and not (following / runs.CONFIG).is_file():
            return [*chain, {"run": following.name, "missing": True}]
        config, served = runs.read_config(following), runs.weights(following)
        chain.append({
            "run": following.name,
            "code": config.code,
            "data": config.fingerprint,
            "seed": config.recipe.training.seed,
            "trained_until": served.trained_until,
            "embedding_space": served.embedding_space,
            "parent": Path(config.parent).name if config.parent else None,
            "refused": (following / runs.REFUSED).exists(),
            "rollbacks": rollbacks(following / runs.EXPORT),
        })
        following = Path(config.parent) if config.parent else None
    return chain
