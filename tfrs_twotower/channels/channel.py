"""One way to propose items, and the request that it gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

_GROWTH = 4


@dataclass(frozen=True)
class Context:
    """A request for a channel.

    Attributes:
      user_id: as text; "" in a request without a user.
      recent: ids of the user's last items, newest first, each once, without disliked ones; () for an unknown user.
      admits: (item ids) → list of bool: may they be in the answer? False for items that the rules of the request
        forbid, withdrawn items, items of another channel, and unknown ids.
    """

    user_id: str
    recent: tuple[str | int, ...]
    admits: Callable[[Sequence[str | int]], list[bool]]


class Channel(Protocol):
    """One way to propose items. Threads share a channel.

    name: shown beside each of its items in an answer.
    """

    name: str

    def propose(self, context: Context, n: int) -> list[tuple]:
        """The best n items as (item id, score), best first; fewer only if it has no more.

        The caller drops items that `context.admits` refuses, and calls again for more if too few are left. A channel
        that drops them itself is called once, for no more than the answer needs.
        """


def admitted(propose: Callable[[Context, int], list[tuple]], context: Context, n: int) -> list[tuple]:
    """The best n items of a channel that the context admits; fewer only if there are no more."""
    asked = n
    while True:
        found = propose(context, asked)
        kept = [pair for pair, good in zip(found, context.admits([item for item, _ in found])) if good]
        if len(kept) >= n or len(found) < asked:
            return kept[:n]
        asked *= _GROWTH
