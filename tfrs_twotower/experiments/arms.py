"""The arms of an experiment, and which user has which."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from typing import Annotated, TypeVar

from tfrs_twotower.configuration import check_types, config, from_dict
from tfrs_twotower.errors import ConfigError, brief, invalid, nearest
from tfrs_twotower.ranges import AtLeast, AtMost, MinLength, Natural, Share

_T = TypeVar("_T")
_LONGEST = 64  # characters of a name
_EXAMPLE = '{"salt": "2026-11", "arms": [{"name": "control", "share": 0.5}, {"name": "new", "share": 0.5}]}'


@config
class Arm:
    """One arm: its share of the users, and what is different there. A request's own values come first.

    Attributes:
      name: in answers and in their log.
      share: of the users; those of all arms that are shown add up to 1.
      root: the export root of another run or recipe; None: the server's.
      version: the one version to serve; None: the newest.
      channels: {channel: places} of /v1/recommend; None: the request's.
      popularity_beta: β of the score; None: the request's.
      diversity: of /v1/recommend; None: the request's.
      shadow: True: the arm answers beside the others. Its answers are kept in the log, and nobody sees them.
    """

    name: str
    share: Share
    root: str | None = None
    version: Natural | None = None
    channels: dict | None = None
    popularity_beta: float | None = None
    diversity: Annotated[float, AtLeast(0), AtMost(1)] | None = None
    shadow: bool = False

    @property
    def is_apart(self) -> bool:
        """Does it need a version of its own?"""
        return self.root is not None or self.version is not None

    def __post_init__(self) -> None:
        check_types(self)
        if not (0 < len(self.name) <= _LONGEST and self.name.isprintable() and ":" not in self.name):
            rule = f"have 1 to {_LONGEST} printable characters, none a colon"
            raise ConfigError(invalid("name", rule, self.name, "Rename it."))
        for channel, places in (self.channels or {}).items():
            if isinstance(places, bool) or not isinstance(places, int) or places < 0:
                rule = "be a whole number of places"
                raise ConfigError(invalid(f"channels.{channel}", rule, places, "Use 0 or more."))


@config
class Arms:
    """The arms of one experiment; the first is the control.

    Attributes:
      arms: the `Arm`s.
      salt: text that makes the split of this experiment independent of those of others.
    """

    arms: Annotated[tuple[Arm, ...], MinLength(1)]
    salt: str

    def __post_init__(self) -> None:
        check_types(self)
        names = [arm.name for arm in self.arms]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(invalid("arms", "have different names", sorted(twice), "Rename one."))
        if self.arms[0].shadow:
            raise ConfigError("The first of `arms` is the control, so it cannot be a shadow. Put another one first.")
        total = math.fsum(arm.share for arm in self.arms if not arm.shadow)
        if abs(total - 1) > 1e-9:
            raise ConfigError(invalid("share", "add up to 1 over the arms that are no shadows", total,
                                      "Raise or lower the control's share."))

    @property
    def control(self) -> Arm:
        """The first arm."""
        return self.arms[0]

    def of(self, user_id: str) -> Arm:
        """The arm of a user; "" is a user without an id, who has the control.

        By weighted rendezvous hashing (Schindelhauer and Schomaker 2005): each arm has −ln(u) / share, where u is a
        hash of salt, arm and user in (0, 1], and the smallest wins. If an arm's share grows, users come to it and none
        leave it; if it shrinks, the other way round. So between two arms the fewest possible users move.
        """
        if not user_id:
            return self.control
        shown = [arm for arm in self.arms if not arm.shadow and arm.share]
        return min(shown, key=lambda arm: -math.log(self._hash(arm, user_id)) / arm.share)

    def shadows(self, user_id: str) -> list[Arm]:
        """The shadow arms that answer a user's requests too."""
        return [arm for arm in self.arms if arm.shadow and user_id and self._hash(arm, user_id) < arm.share]

    def _hash(self, arm: Arm, user_id: str) -> float:
        """A number in (0, 1], uniform over users."""
        text = "\0".join((self.salt, arm.name, user_id)).encode(errors="surrogatepass")
        return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") + 1) / 2**64


def read_arms(path: str | os.PathLike[str]) -> Arms:
    """The `Arms` of a JSON file: `{"salt": "2026-11", "arms": [{"name": "control", "share": 0.5}, …]}`.

    Raises:
      ConfigError: the file cannot be read, or a value is wrong; the message says where.
    """
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"The arms {os.fspath(path)} cannot be read as JSON: {error}.") from error
    known = ("salt", "arms")
    if not isinstance(data, dict) or not isinstance(data.get("arms"), list) or not isinstance(data.get("salt"), str):
        raise ConfigError(f'{os.fspath(path)} must be an object with "salt", a text, and "arms", a list. Received: '
                          f'{brief(data, 80)}. For example: {_EXAMPLE}')
    for name in data:
        if name not in known:
            raise ConfigError(f"{os.fspath(path)} has an unknown `{name}`." + nearest(name, known))
    return _checked(os.fspath(path), lambda: Arms(
        tuple(_checked(f"arms[{place}]", lambda: _arm(values)) for place, values in enumerate(data["arms"])),
        data["salt"],
    ))


def _arm(values: object) -> Arm:
    if not isinstance(values, dict):
        raise ConfigError(f"An arm must be an object. Received: {brief(values, 80)}. For example: {_EXAMPLE}")
    if "type" in values:
        raise ConfigError("`Arm` has no field `type`. Leave it out.")
    return from_dict({"type": "Arm", **values})


def _checked(where: str, make: Callable[[], _T]) -> _T:
    """What `make` returns; an error says where it happened."""
    try:
        return make()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
