"""Losses beside the retrieval loss. To add one: one file, one line here, one recipe.

An auxiliary loss is a Keras layer, made from its configuration and a seed. It is called in training as

    layer(model, batch, queries, candidates, positives, training=...) -> scalar, weighted already

with the `TwoTowerModel`, its batch, and what `TwoTowerModel.pairs` returns.
"""

from tfrs_twotower.errors import ConfigError, nearest
from tfrs_twotower.models.alignment import ContentAlignment, ContentAlignmentLoss
from tfrs_twotower.models.category_alignment import CategoryAlignment, CategoryAlignmentLoss
from tfrs_twotower.models.distillation import Distillation, DistillationLoss
from tfrs_twotower.models.event_heads import EventHeads, EventHeadsLoss
from tfrs_twotower.models.mimic import Mimic, MimicLoss
from tfrs_twotower.models.self_supervision import SelfSupervision, SelfSupervisionLoss

# configuration: layer(configuration, seed)
AUXILIARY: dict = {
    Mimic: MimicLoss,
    CategoryAlignment: CategoryAlignmentLoss,
    ContentAlignment: ContentAlignmentLoss,
    Distillation: DistillationLoss,
    SelfSupervision: SelfSupervisionLoss,
    EventHeads: EventHeadsLoss,
}


def build_auxiliary(config, seed=0):
    """The layer of an auxiliary loss's configuration.

    Raises:
      ConfigError: no auxiliary loss has such a configuration.
    """
    if type(config) not in AUXILIARY:
        name = type(config).__name__
        raise ConfigError(f"`{name}` configures no auxiliary loss." + nearest(name, [c.__name__ for c in AUXILIARY]))
    return AUXILIARY[type(config)](config, seed)
