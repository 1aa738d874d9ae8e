"""The space of a search: settings of a recipe, each with its possible values."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tfrs_twotower.configuration import config, override, to_dict
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import History, Sequence
from tfrs_twotower.losses import FullSoftmax, SampledSoftmax
from tfrs_twotower.models import FixedTemperature
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.sampling import InBatch, Uniform
from tfrs_twotower.towers import MLP

if TYPE_CHECKING:
    from optuna import Trial

_FULL_SOFTMAX_ITEMS = 20_000  # above it, the softmax over the whole catalogue is too slow to try
_FEW_SHOT = "model.few_shot"
_SHORT_HISTORY = 10  # shorter ones say what the moment is, and stay as they are


@config
class Choice:
    """One of a few values.

    Attributes:
      fields: dotted names of the settings that get the value, as in `--set`.
      values: numbers, text, configuration objects, or tuples of these.
    """

    fields: tuple[str, ...]
    values: tuple[Any, ...]

    def including(self, value: Any) -> "Choice":
        """The same with `value` among the values."""
        return self if value in self.values else Choice(self.fields, (value, *self.values))

    def suggest(self, trial: "Trial") -> list[str]:
        """The assignments that an Optuna trial proposes."""
        label = trial.suggest_categorical(self.fields[0], [_text(value) for value in self.values])
        return [f"{field}={label}" for field in self.fields]

    def parameter(self, value: Any) -> str:
        """What stands for `value` in a trial's parameters."""
        return _text(value)

    def examples(self) -> tuple[Any, ...]:
        """All values."""
        return self.values


@config
class Range:
    """A number from `low` to `high`.

    Attributes:
      fields: dotted names of the settings that get the number, as in `--set`.
      low, high: the bounds; both can be reached.
      log: whether equal factors are equally likely, instead of equal distances. `low` is then above 0.
    """

    fields: tuple[str, ...]
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            rule = f"be below high={self.high}, and above 0 with log=True"
            raise ConfigError(invalid("Range.low", rule, self.low, "Swap the bounds, or use log=False."))

    def including(self, value: float) -> "Range":
        """The same, made wide enough for `value`."""
        return Range(self.fields, min(self.low, value), max(self.high, value), self.log)

    def suggest(self, trial: "Trial") -> list[str]:
        """The assignments that an Optuna trial proposes."""
        number = trial.suggest_float(self.fields[0], self.low, self.high, log=self.log)
        return [f"{field}={number!r}" for field in self.fields]

    def parameter(self, value: float) -> float:
        """What stands for `value` in a trial's parameters."""
        return float(value)

    def examples(self) -> tuple[float, float]:
        """The bounds."""
        return self.low, self.high


def default_space(recipe: Recipe, items: int) -> tuple[Choice | Range, ...]:
    """The default space for any recipe: a tuple of `Choice` and `Range`.

    Vector size, width and dropout of the towers (where they are MLPs), learning rate, temperature, loss, negatives,
    and the length of the history.

    Args:
      recipe: a `Recipe` with its schema.
      items: size of the catalogue.
    """
    model, rate = recipe.model, "training.optimizer.learning_rate"
    losses = (SampledSoftmax(), FullSoftmax()) if items <= _FULL_SOFTMAX_ITEMS else (SampledSoftmax(),)
    space: list[Choice | Range] = [
        Choice(("model.dim",), (32, 64, 128)),
        Range((rate,), value_at(recipe, rate) / 5, value_at(recipe, rate) * 5, log=True),
        Choice(("model.loss",), losses),
        Choice(("model.negatives",), ((InBatch(),), (InBatch(), Uniform(512)))),
    ]
    encoders = [f"model.{name}" for name in ("query_encoder", "candidate_encoder") if type(getattr(model, name)) is MLP]
    if encoders:
        space.append(Choice(tuple(f"{name}.widths" for name in encoders), ((64,), (128,), (256,), (256, 128))))
        space.append(Range(tuple(f"{name}.dropout" for name in encoders), 0.0, 0.5))
    if isinstance(model.temperature, FixedTemperature) and model.similarity == "cosine":
        space.append(Range(("model.temperature.value",), 0.02, 0.2, log=True))
    for place, feature in enumerate(recipe.schema.query):
        if isinstance(feature, (History, Sequence)) and feature.length > _SHORT_HISTORY:
            space.append(Choice((f"schema.query.{place}.length",), (20, 50, 100)))
    return tuple(space)


def parse_dimension(text: str) -> Choice | Range:
    """A `Choice` or `Range` from "NAME=[VALUE, ...]" (JSON) or "NAME=LOW..HIGH".

    NAME may be several names, separated by commas, that get the same value. A range over a factor of ten or more is
    searched by factors.
    """
    names, _, values = text.partition("=")
    fields = tuple(name.strip() for name in names.split(","))
    low, dots, high = values.partition("..")
    try:
        if dots:
            bounds = float(low), float(high)
            return Range(fields, *bounds, log=bounds[0] > 0 and bounds[1] >= 10 * bounds[0])
        found = json.loads(values)
    except json.JSONDecodeError:
        found = None
    except ValueError as error:
        raise ConfigError(_wrong(text)) from error
    if not isinstance(found, list) or not found:
        raise ConfigError(_wrong(text))
    from_json = override(_Holder(()), [f"values={values}"]).values
    return Choice(fields, from_json)


@config
class _Holder:
    """Reads JSON `values` as configuration."""

    values: tuple[Any, ...]


def _wrong(text: str) -> str:
    return invalid(
        "--search", "look like name=[value, value] or name=low..high", text, "For example: model.dim=[32, 64]."
    )


def value_at(value: Any, path: str) -> Any:
    """The setting of a configuration that a dotted name means; a number is a position in a tuple."""
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, tuple) else getattr(value, name)
    return value


def checked(space: Iterable[Choice | Range], recipe: Recipe) -> tuple[Choice | Range, ...]:
    """`space` with the recipe's own values in it.

    Raises:
      ConfigError: a field or a value does not fit the recipe.
    """
    found = []
    for dimension in space:
        for field in dimension.fields:
            if field.startswith(_FEW_SHOT):
                rule = f"leave out `{_FEW_SHOT}`: it is learned after a training, and moves newcomers alone"
                way_out = "No trial's figure would tell. Measure it on newcomers, as `bench.bench_few_shot` does."
                raise ConfigError(invalid("space", rule, field, way_out))
        for value in dimension.examples():
            override(recipe, [f"{field}={_text(value)}" for field in dimension.fields])
        found.append(dimension.including(value_at(recipe, dimension.fields[0])))
    return tuple(found)


def _text(value: Any) -> str:
    """A value as JSON, as an assignment takes it."""
    return json.dumps(to_dict(value))
