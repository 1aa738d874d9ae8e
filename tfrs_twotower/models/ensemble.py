"""The objective of several two-tower models that are trained side by side and served as one."""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from tfrs_twotower.models.objectives import CatalogueObjective, Positives, SampledObjective
from tfrs_twotower.models.temperature import Temperature
from tfrs_twotower.sampling import HardNegatives
from tfrs_twotower.towers import EnsembleTower


class EnsembleObjective(tf.keras.layers.Layer):
    """The sum of the members' losses, each of its own part of the ensemble's vectors.

    The members share no weights, so each is trained as if it were alone, with its own loss and negatives.

    Args:
      members: a `SampledObjective` or `CatalogueObjective` each.
      candidate_tower: the `EnsembleTower` of the candidates; it knows each member's part.
      weights: the members' weights in the score, above 0.
    """

    def __init__(
        self, members: Iterable[SampledObjective | CatalogueObjective], candidate_tower: EnsembleTower,
        weights: Sequence[float],
    ) -> None:
        super().__init__(name="objective")
        self._autocast = False  # scores are float32 under mixed precision too
        self.members, self._tower = list(members), candidate_tower
        self.catalogue, self.items = self.members[0].catalogue, self.members[0].items  # for auxiliary losses
        self.temperature = _MeanTemperature([member.temperature for member in members], weights)

    def call(
        self, queries: tf.Tensor, candidates: tf.Tensor, positives: Positives, training: bool = False
    ) -> tf.Tensor:
        """The loss, a scalar; queries, candidates: [n, Σ dim]. See `SampledObjective`."""
        parts = zip(self.members, self._tower.split(queries), self._tower.split(candidates))
        return tf.add_n([member(u, v, positives, training=training) for member, u, v in parts])

    @property
    def hard(self) -> HardNegatives | None:
        """The `HardNegatives` of the first member that has some, or None. Its settings time the refresh of all."""
        return next((member.hard for member in self._with_hard()), None)

    def refresh_hard(self) -> None:
        """Embeds the catalogue anew for the hard negatives of all members."""
        for member in self._with_hard():
            member.refresh_hard()

    def _with_hard(self) -> list[SampledObjective | CatalogueObjective]:
        return [member for member in self.members if getattr(member, "hard", None) is not None]


class _MeanTemperature(tf.keras.layers.Layer):
    """τ of the ensemble's score Σ w·⟨u, v⟩ / τ: the harmonic mean, so that its size is the mean of the members'."""

    def __init__(self, temperatures: Iterable[Temperature], weights: Sequence[float]) -> None:
        super().__init__(name="temperature")
        self._temperatures = list(temperatures)
        self._shares = [weight / sum(weights) for weight in weights]

    def value(self) -> tf.Tensor:
        """τ, float32 scalar."""
        return 1.0 / tf.add_n([s / t.value() for s, t in zip(self._shares, self._temperatures)])
