"""What to try next, by rules on the figures of a run: each has a reason and a setting that exists."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_twotower.recipe import Recipe
from tfrs_twotower.report import Advice, named

_FEW = 500  # queries
_COLD = 0.02  # of the targets
_LOST = 0.001  # of the rows


def advice(
    recipe: Recipe, metrics: Mapping[str, Any], found: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]],
    described: bool,
) -> tuple[Advice, ...]:
    """The `Advice`s that fit, the most urgent first. found: the run's `headline`. described: items have columns."""
    training, given, targets = metrics.get("training") or {}, [], metrics["protocol"]["targets"]
    if metrics["collapse"]["message"]:
        given.append(Advice("Repair the training", metrics["collapse"]["message"]))
    if 1 < len(epochs) == training.get("best_epoch", -1) + 1:
        given.append(Advice("Train longer", f"The last of {len(epochs)} epochs was the best.",
                            code=f"--set training.epochs={2 * len(epochs)}"))
    if found["interval"] is not None and found["interval"][0] <= 0:
        given.append(_rival(recipe, found))
    cold = metrics["slices"].get("cold_items", {}).get("targets", 0)
    if cold > _COLD * targets:
        why = f"{cold / targets:.0%} of the targets are items without a training event: only features can place them."
        given.append(
            Advice("Offer new items", why, "Give them places until they have events:", "twotower serve --explore FILE")
            if described else
            Advice("Describe the items", why, "Add a table with categories, texts or prices:", "--items"))
    if metrics["protocol"]["queries"] < _FEW:
        given.append(Advice("Measure on more", f"{metrics['protocol']['queries']:,} queries give wide intervals.",
                            "Take a larger share of the log for the test, or train several seeds:", "training.seed"))
    index = metrics.get("index")
    if index and not index["meets_target"]:
        recall = index[f"recall@{index['k']}"]
        given.append(Advice("Search more of the index", f"It finds {recall:.3f} of the best, below the target "
                            f"{index['target_recall']:g}.", code="twotower index RUN --set kind=exact"))
    read = metrics["data"]
    if (rejected := sum(read["rejected"].values())) > _LOST * read["rows"]:
        given.append(Advice("Look at the rejected rows", f"{rejected:,} rows were left out.", "They are in the run's",
                            "rejected.parquet"))
    given.append(Advice("Search for better settings", "Width, dropout, learning rate and temperature decide much.",
                        code=f"twotower tune {recipe.name}"))
    return tuple(given)


def _rival(recipe: Recipe, found: Mapping[str, Any]) -> Advice:
    """What to do about a baseline that is not clearly below the model."""
    name, model = named(found["baseline"]), recipe.model
    said = f"{name} is {'not clearly below' if found['interval'][1] >= 0 else 'above'} the model."
    if model.neighbours is None or model.repeats is None:
        return Advice(f"Take in what {name} knows", said, "Popularity, neighbours and repeats can enter the score; the "
                      "recipe plain has all three:", "twotower train plain --help")
    return Advice(f"Take in what {name} knows", said, "Search for settings:", f"twotower tune {recipe.name}")
