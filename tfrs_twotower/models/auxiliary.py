"""Losses beside the retrieval loss."""

from tfrs_twotower.configuration import Layered


class AuxiliaryLoss(Layered):
    """Base of the configurations of losses that are trained beside the retrieval loss.

    Its layer is made as `layer(configuration, seed)`. It is called in training as

        layer(model, batch, queries, candidates, positives, training=...) -> scalar, weighted already

    with the `TwoTowerModel`, its batch, and the result of `TwoTowerModel.pairs`.
    """

    def labels(self) -> tuple[str, ...]:
        """Context columns that it reads, as `batch["labels"][column]`: float32 [n], one number per positive's event.

        They are known only after the event, so a derived schema leaves them out.
        """
        return ()
