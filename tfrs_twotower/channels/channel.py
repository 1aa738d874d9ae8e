"""One way to propose items, and what it is told about the request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

_GROWTH = 4


@dataclass(frozen=True)
class Context:
    """A request, as a channel sees it.

    Attributes:
      user_id: as text; "" where the request names no user.
      recent: ids of the items that the user took last, newest first, each once; () for an unknown user.
      admits: {item ids} → list of bool: may they be in the answer? False for what the rules of the request forbid,
        for what is withdrawn, for what another channel brought, and for an id that is not known.
    """

    user_id: str
    recent: tuple[str | int, ...]
    admits: Callable[[Sequence[str | int]], list[bool]]


class Channel(Protocol):
    """One way to propose items. Threads share a channel.

    name: stands beside each item of it in an answer.
    """

    name: str

    def propose(self, context: Context, n: int) -> list[tuple]:
        """The best n items as (item id, score), best first; fewer only where it has no more.

        The caller leaves out what `context.admits` refuses, and asks again for more where too few are left. A channel
        that leaves that out by itself is asked once, for no more than will be shown.
        """


def admitted(propose: Callable[[Context, int], list[tuple]], context: Context, n: int) -> list[tuple]:
    """The best n of what a channel's `propose` brings that the context admits; fewer only where there are no more."""
    asked = n
    while True:
        found = propose(context, asked)
        kept = [pair for pair, good in zip(found, context.admits([item for item, _ in found])) if good]
        if len(kept) >= n or len(found) < asked:
            return kept[:n]
        asked *= _GROWTH
