"""The settings of an evaluation."""

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.ranges import Counts, Natural

_QUERIES, _LEAST_QUERIES = 20_000, 2_000
_SCORES = 2_000_000_000  # of one ranking of a large catalogue
_LEAST = 20  # too few replicates for a 95% interval


@config
class EvaluationConfig:
    """What is measured.

    Attributes:
      ks: the cut-offs K of the metrics, each at least 1.
      exclude_seen: True: items that the user met before the request are neither ranked nor targets; a query without
        other targets does not count. False: all items are ranked, and repeats count. None: chosen from the data:
        False if more than 5% of the validation targets are repeats, else True.
      test_queries: the largest number of queries of a final evaluation. If there are more, a sample is drawn at
        random. The intervals are those of the sample. Two runs on one log and split have the same sample. 0: all.
        None: 20,000, and with more than 100,000 items fewer: as many as have two billion scores, but at least 2,000.
      validation_queries: the largest number of validation queries, drawn at random, that measure an epoch and choose
        the weights in the score; 0: all. None: half as many as of the test.
      bootstrap: replicates of each interval, at least 20; 0 leaves the intervals out.
      baseline_seconds: the time for fitting and tuning the baselines. A baseline that needs more is left out, and a
        line says so. None: 40, plus 20 for every 600,000 training events: from a million events on, less than a
        twentieth of the default time of a training by `plain`. After a race it is a fifth of the race's minutes at
        most. 0: popularity, the users' own earlier items, and item-kNN untuned.
    """

    ks: Counts = (10, 50, 100)
    exclude_seen: bool | None = None
    test_queries: Natural | None = None
    validation_queries: Natural | None = None
    bootstrap: Natural = 1000
    baseline_seconds: Natural | None = None

    def __post_init__(self) -> None:
        if 0 < self.bootstrap < _LEAST:
            rule = f"be at least {_LEAST}, or 0"
            raise ConfigError(invalid("EvaluationConfig.bootstrap", rule, self.bootstrap, "0 gives no intervals."))

    def seconds(self, events: int) -> int:
        """`baseline_seconds` for a number of training events."""
        return 40 + events // 30_000 if self.baseline_seconds is None else self.baseline_seconds

    def most_test_queries(self, items: int) -> int:
        """`test_queries` in a log of so many items."""
        return _queries(items) if self.test_queries is None else self.test_queries

    def most_validation_queries(self, items: int) -> int:
        """`validation_queries` in a log of so many items."""
        return _queries(items) // 2 if self.validation_queries is None else self.validation_queries

    def metrics(self) -> list[str]:
        """The names of all metrics of an evaluation."""
        at_k = ("recall", "hit_rate", "ndcg", "novelty", "coverage")
        return [f"{name}@{k}" for k in self.ks for name in at_k] + ["mrr"]


def _queries(items: int) -> int:
    return min(_QUERIES, max(_SCORES // max(items, 1), _LEAST_QUERIES))
