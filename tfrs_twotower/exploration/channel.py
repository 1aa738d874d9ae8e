"""Exploration as a channel of an answer."""

from tfrs_twotower.online import StoreError


class FreshChannel:
    """A `channels.Channel` that proposes new items by an `Explorer`.

    Its proposals count as shown. Name it first among the channels of a request, so that no other brings the same item
    and what it proposes is what is shown. While its file fails it proposes nothing.

    Args:
      explorer: an `Explorer`.
      id_type: str or int, of the item ids that the server has.
      failed: called without arguments when the file fails.
    """

    name = "fresh"

    def __init__(self, explorer, id_type=str, failed=lambda: None):
        self._explorer, self._id_type, self._failed = explorer, id_type, failed

    def propose(self, context, n):
        """See `Channel`. What the context does not admit is left out here, so that the cap is not spent on it."""
        def admits(ids):
            return context.admits([self._id_type(item) for item in ids])

        try:
            found = self._explorer.choose(n, context.user_id, admits)
        except StoreError:
            self._failed()
            return []
        return [(self._id_type(item), score) for item, score in found]
