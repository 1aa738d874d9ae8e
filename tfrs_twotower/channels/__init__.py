"""Channels: the sources of the items of an answer, and the rules for all of them. NumPy only; no model, no server."""

from tfrs_twotower.channels.attributes import Attributes
from tfrs_twotower.channels.blend import blend, interleave
from tfrs_twotower.channels.channel import Channel, Context, admitted
from tfrs_twotower.channels.diversity import mmr
from tfrs_twotower.channels.elicitation import Elicitation
from tfrs_twotower.channels.quotas import Shares, places
from tfrs_twotower.channels.rules import Rule, read_rules, satisfied

__all__ = [
    "Attributes",
    "Channel",
    "Context",
    "Elicitation",
    "Rule",
    "Shares",
    "admitted",
    "blend",
    "interleave",
    "mmr",
    "places",
    "read_rules",
    "satisfied",
]
