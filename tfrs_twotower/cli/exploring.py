"""The options of `twotower serve` that explore new items."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from tfrs_twotower.cli import options
from tfrs_twotower.errors import ConfigError, invalid

if TYPE_CHECKING:
    from tfrs_twotower.exploration import ExploredItems, Exposures, FreshChannel, NewcomerShares
    from tfrs_twotower.freshness import FreshItems
    from tfrs_twotower.online import Stores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--explore` and what belongs to it."""
    group = parser.add_argument_group("exploration of new items (docs/cold_start.md)")
    group.add_argument("--explore", metavar="FILE",
                       help="with --store and --items-log: the channel `fresh` of /v1/recommend shows new items by "
                       "--explore-policy, and learns from events; FILE (SQLite) counts showings and clicks")
    group.add_argument("--explore-share", type=float, default=0.05, metavar="SHARE",
                       help="the share of its requests that show new items (default: %(default)s)")
    group.add_argument("--explore-cap", type=options.positive, default=1000, metavar="N",
                       help="how often the channel shows an item at most (default: %(default)s)")
    group.add_argument("--explore-kinds", metavar="KIND", nargs="+", default=(),
                       help="the kinds of events that count as clicks (default: all)")
    group.add_argument("--explore-policy", choices=("thompson", "epsilon"), default="thompson",
                       help="how the channel chooses: by Thompson sampling, or ε-greedily (default: %(default)s)")
    group.add_argument("--explore-epsilon", type=float, default=0.1, metavar="SHARE",
                       help="with the policy epsilon: the share of random choices (default: %(default)s)")
    group.add_argument("--newcomers", metavar="FILE",
                       help='JSON: what users of few events are shown in /v1/recommend, as {"channels": ["popular"], '
                       '"share": 0.8, "half_after": 5}; of several channels the policy chooses, and counts in the file '
                       'that "counts" names')
    group.add_argument("--explore-rate", type=float, default=0.05, metavar="RATE",
                       help="the usual click rate of shown items: the prior's mean (default: %(default)s)")


def explored(
    args: argparse.Namespace, stores: "Stores | None", fresh: "FreshItems | None"
) -> "tuple[Stores | None, FreshItems | ExploredItems | None, tuple[FreshChannel, ...], tuple[Exposures, ...]]":
    """(stores, fresh, channels, objects to close) for `Server`, with exploration if the arguments ask for it.

    Raises:
      ConfigError: there is no store or no items log, or a figure is out of range.
    """
    if not args.explore:
        return stores, fresh, (), ()
    if stores is None or fresh is None:
        raise ConfigError("`--explore` needs --store, for clicks, and --items-log, for new items. Name both.")
    if not 0 < args.explore_rate < 1:
        rule, way_out = "be between 0 and 1", "2% is 0.02."
        raise ConfigError(invalid("--explore-rate", rule, args.explore_rate, way_out))
    from tfrs_twotower.exploration import (
        ClickedHistory,
        EpsilonGreedy,
        Exploration,
        ExploredItems,
        Explorer,
        Exposures,
        FreshChannel,
        Thompson,
    )
    from tfrs_twotower.online.late import Late

    prior = (1.0, 1 / args.explore_rate - 1)
    policy = Thompson(*prior) if args.explore_policy == "thompson" else EpsilonGreedy(args.explore_epsilon, *prior)
    settings = Exploration(policy, args.explore_share, args.explore_cap)
    exposures = Late(lambda: Exposures(args.explore)).part()
    channel = FreshChannel(Explorer(exposures, settings), fresh.id_type)
    history = ClickedHistory(stores.history, exposures, args.explore_kinds)
    stores = dataclasses.replace(stores, history=history)
    return stores, ExploredItems(fresh, exposures), (channel,), (exposures,)


def newcomers(args: argparse.Namespace, stores: "Stores | None") -> "tuple[Stores | None, NewcomerShares | None]":
    """(stores, newcomers) for `Server`, by `--newcomers`.

    Raises:
      ConfigError: the file is wrong, or there is no store for the clicks on several channels.
    """
    if not args.newcomers:
        return stores, None
    from tfrs_twotower.exploration import ClickedHistory, Newcomers, NewcomerShares

    settings = Newcomers.read(args.newcomers)
    if settings.counts is None:
        return stores, NewcomerShares(settings)
    if stores is None:
        raise ConfigError("`--newcomers` with several channels needs --store, for clicks. Name it, or one channel.")
    shares = NewcomerShares(settings)
    counts: Any = shares.counts  # it has them
    history = ClickedHistory(stores.history, counts, args.explore_kinds)
    return dataclasses.replace(stores, history=history), shares
