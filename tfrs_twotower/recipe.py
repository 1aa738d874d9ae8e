"""A recipe: everything that makes a recommender, as one frozen dataclass."""

import dataclasses
import re
from typing import Annotated, Literal

from tfrs_twotower.configuration import config
from tfrs_twotower.data import Source, Splitter, Temporal, TextVectors
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Derived, Schema, derive_seed
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.losses import FullSoftmax, Loss, RefinedSampledSoftmax, SampledSoftmax
from tfrs_twotower.models import (
    AuxiliaryLoss,
    FixedTemperature,
    LearnedTemperature,
    Neighbours,
    Repeats,
    Reptile,
    ScheduledTemperature,
)
from tfrs_twotower.online import Store  # noqa: F401  (a recipe's source may be one)
from tfrs_twotower.ranges import Count, HalfLives, Positive, Share, Weights
from tfrs_twotower.rerankers import RerankerConfig
from tfrs_twotower.sampling import InBatch, NegativeSource, NoLogQ, StaticLogQ, StreamingLogQ
from tfrs_twotower.towers import MLP, Encoder, check_encoder
from tfrs_twotower.training import CoVisits, TrainingConfig


@config
class ModelConfig:
    """Two towers and the score between them.

    Attributes:
      dim: length of the query and candidate vectors.
      query_encoder, candidate_encoder: the layers between the fields and the linear projection; see `towers`.
      similarity: "cosine" (unit vectors) or "dot".
      temperature: τ of ⟨u, v⟩ / τ, fixed, scheduled or learned within bounds.
      loss: one of `losses`. `FullSoftmax` takes the whole catalogue and ignores `negatives` and `logq`.
      negatives: the sources of negatives, combined; see `sampling.negatives`.
      logq: the estimate of an item's share among the positives, for the correction of sampled negatives:
        `NoLogQ` (no correction), `StaticLogQ` or `StreamingLogQ`.
      popularity_weights: w of the score ⟨u, v⟩ / τ + w · log p(item), each at least 0. If there are several,
        validation chooses one after the training. An update keeps its parent's.
      popularity_half_lives: days after which an event counts half in p(item), each above 0; None: all count alike. If
        there are several, the one is kept with which popularity alone ranks validation best.
      neighbours: a term for the similarity to the items of the history, see `Neighbours`; None: no such term.
      repeats: a term for the items that the user had before, see `Repeats`; None: no such term.
      few_shot: a `Reptile`: first events move the vector of a user or item without a row in the table of ids
        (`FewShot`): of items in a server, of users in evaluation and in an export. None: it is what the tower makes of
        the features.
      item_start: `CoVisits`: the item vectors start from the training log's pairs of items; None: at random.
      reranker: rescores the retrieved top, in evaluation and in an export, such as `NeuralCF`; None: no reranking.
      auxiliary: losses beside the retrieval loss, such as `Mimic`.
    """

    dim: Count = 64
    query_encoder: Encoder = MLP(widths=(128,))
    candidate_encoder: Encoder = MLP(widths=(128,))
    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: FixedTemperature | ScheduledTemperature | LearnedTemperature = FixedTemperature(0.05)
    loss: Loss = SampledSoftmax()
    negatives: tuple[NegativeSource, ...] = (InBatch(),)
    logq: NoLogQ | StaticLogQ | StreamingLogQ = StreamingLogQ()
    auxiliary: tuple[AuxiliaryLoss, ...] = ()
    popularity_weights: Annotated[Weights, "Write (0.0,) for none."] = (0.0,)
    popularity_half_lives: HalfLives = (None,)
    neighbours: Neighbours | None = None
    repeats: Repeats | None = None
    few_shot: Reptile | None = None
    item_start: CoVisits | None = None
    reranker: RerankerConfig | None = None

    def __post_init__(self) -> None:
        check_encoder(self.query_encoder, "query", "ModelConfig.query_encoder")
        check_encoder(self.candidate_encoder, "candidate", "ModelConfig.candidate_encoder")
        if not self.negatives and not isinstance(self.loss, FullSoftmax):
            way_out = "Write negatives=(InBatch(),), or use loss=FullSoftmax()."
            raise ConfigError(invalid("ModelConfig.negatives", "name a source", self.negatives, way_out))
        for name in ("neighbours", "few_shot"):
            given = getattr(self, name)
            if given and (self.reranker or getattr(self.query_encoder, "interests", 1) != 1):
                rule = "be null with a reranker, and with an encoder of several interests"
                raise ConfigError(invalid(f"ModelConfig.{name}", rule, given, "Leave it out."))
        if isinstance(self.loss, RefinedSampledSoftmax) and isinstance(self.logq, NoLogQ):
            rule, way_out = "be StreamingLogQ or StaticLogQ with RefinedSampledSoftmax", "Or use loss=SampledSoftmax()."
            raise ConfigError(invalid("ModelConfig.logq", rule, self.logq, way_out))


@config
class Member:
    """A further model of an ensemble: see `Recipe.ensemble`.

    Attributes:
      model: it shares no weights with the others; without `auxiliary` losses, `popularity_weights`,
        `neighbours`, `repeats` and `few_shot`.
      weight: of its score, above 0; the weight of `Recipe.model` is 1.
    """

    model: ModelConfig
    weight: Annotated[Positive, "Leave the member out."] = 1.0

    def __post_init__(self) -> None:
        if self.model.auxiliary:
            rule, way_out = "be empty: the ensemble uses those of `Recipe.model`", "Move them there."
            raise ConfigError(invalid("Member.model.auxiliary", rule, self.model.auxiliary, way_out))
        defaults = {"popularity_weights": (0.0,), "neighbours": None, "repeats": None, "few_shot": None}
        for name, default in defaults.items():
            given = getattr(self.model, name)
            if given != default:
                rule, way_out = "keep its default: the ensemble uses that of `Recipe.model`", "Set it there."
                raise ConfigError(invalid(f"Member.model.{name}", rule, given, way_out))


BESIDE = ("popularity_weights", "popularity_half_lives", "neighbours", "repeats")  # the towers, in the score
RACED = ("batch_size", "optimizer", "average", "known_positives")  # of the training


@config
class Race:
    """A race: candidates are trained briefly, and validation keeps the best one; see `pipeline/racing.py`.

    Attributes:
      minutes: roughly the time of the whole `twotower train`, above 0; docs/scale.md says which stages keep to it.
        None: 4 for 100,000 events and 30 for a million, on two cores.
    """

    minutes: Annotated[Positive | None, "For the default use null."] = None


@config
class Recipe:
    """Everything that makes a recommender: data, split, features, model, training, evaluation, index.

    Attributes:
      name: the folder under `runs/` and the served model's name: letters, digits, `.`, `_` and `-`, the first
        a letter or a digit.
      source: of the log; None if the `Recommender` gets data frames.
      rejected_limit: the fraction of bad rows at which training stops.
      require_items: True rejects events whose item is missing from the item table.
      split: divides the log into training, validation and test. On a log without times `Temporal` becomes
        `RandomPerUser`.
      schema: the features of both towers; None derives them from the columns (`infer_schema`).
      derived: further features of a derived schema, which the system needs.
      history_kinds: the kinds of events (the log's column `event`) that make a history, in training and when serving;
        (): all that the log has. A feature may name its own: `History(kinds=("buy",))`. A log that tells no kinds has
        only these.
      title: the item column with readable names. None: a text column called `title` or `name`, else one whose name
        ends in `_title`, else the id.
      model, training, evaluation, index: see their classes. `training.monitor` is one of the metrics that
        `evaluation.ks` gives.
      race: candidates are raced, and the winner gives `schema`, `model` and `training`. The race uses only these
        settings of the recipe's own: the terms beside the towers in the score, the seed, the monitor and the
        largest number of epochs. None: no race.
      ensemble: models that are trained beside `model`, on the same batches, and served with it as one: their
        weighted vectors are concatenated, so that the score is the weighted mean of their scores.
    """

    name: str
    source: Source | None = None
    rejected_limit: Annotated[Share, "1% is 0.01."] = 0.01
    require_items: bool = False
    split: Splitter = Temporal()
    schema: Schema | None = None
    derived: Derived = Derived()
    history_kinds: tuple[str, ...] = ()
    title: str | None = None
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    index: IndexConfig = IndexConfig()
    race: Race | None = None
    ensemble: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            rule = "be letters, digits, `.`, `_` and `-`, the first a letter or a digit"
            raise ConfigError(invalid("Recipe.name", rule, self.name, "It names a folder under runs/."))
        if self.race is not None:
            self._check_race()
        monitor, metrics = self.training.monitor, self.evaluation.metrics()
        if monitor not in metrics:
            rule = f"be a metric at one of evaluation.ks={list(self.evaluation.ks)}"
            raise ConfigError(invalid("training.monitor", rule, monitor, nearest(monitor, metrics).strip()))

    def _check_race(self) -> None:
        """Raises `ConfigError` for a setting that the race would choose."""
        free = {name: getattr(self.model, name) for name in BESIDE}
        model, training = ModelConfig(**free), TrainingConfig()
        given = [f"model.{f.name}" for f in dataclasses.fields(model)
                 if getattr(self.model, f.name) != getattr(model, f.name)]
        given += [f"training.{name}" for name in RACED if getattr(self.training, name) != getattr(training, name)]
        given += ["schema"] if self.schema is not None else []
        given += ["ensemble"] if self.ensemble else []
        if given:
            rule, way_out = f"be null where {', '.join(given)} is given", "Write race=null to train without a race."
            raise ConfigError(invalid("Recipe.race", rule, self.race, way_out))

    def on(self, source: Source | None) -> "Recipe":
        """This recipe on another log: its features are derived from the columns, and the log's size chooses the index.

        Args:
          source: of the log; None if the `Recommender` gets data frames. A recipe with vectors of texts reads those of
            all text columns of `source`'s items.
        """
        if source is not None and isinstance(self.source, TextVectors):
            source = TextVectors(source, columns=())
        return dataclasses.replace(self, source=source, schema=None, title=None, index=IndexConfig())

    def members(self) -> "list[Recipe]":
        """A recipe for each model of the ensemble, with its own seed. The first, or only one, is this recipe."""
        found = [self]
        for i, member in enumerate(self.ensemble):
            seed = derive_seed(self.training.seed, f"member/{i}")
            training = dataclasses.replace(self.training, seed=seed)
            found.append(dataclasses.replace(self, model=member.model, training=training, ensemble=()))
        return found
