"""Exploration as a channel of an answer."""

from typing import TYPE_CHECKING

from tfrs_twotower.coldstart.explorer import Explorer

if TYPE_CHECKING:
    from tfrs_twotower.channels import Context


class FreshChannel:
    """A `channels.Channel` that proposes new items by an `Explorer`.

    Its proposals count as shown. So it leaves out items that the context does not admit itself, and wastes no showing.
    A request without a user explores nothing, as its clicks could not be assigned.

    Args:
      explorer: an `Explorer`.
      id_type: str or int, of the server's item ids.
    """

    name = "fresh"

    def __init__(self, explorer: Explorer, id_type: type[str] | type[int] = str) -> None:
        self._explorer, self._id_type = explorer, id_type

    def propose(self, context: "Context", n: int) -> list[tuple[str | int, float]]:
        """See `Channel`. Raises `StoreError` while the exposures cannot be written."""
        if not context.user_id:
            return []

        def admits(ids: list[str]) -> list[bool]:
            return context.admits([self._id_type(item) for item in ids])

        found = self._explorer.choose(n, context.user_id, admits)
        return [(self._id_type(item), score) for item, score in found]
