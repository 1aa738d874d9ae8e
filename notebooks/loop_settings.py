"""How large the simulated shop is, and what happens on which day."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Calendar:
    """The days, from 1 on, on which something happens; 0: never.

    Attributes:
      first: the night after it has the first training.
      anew: the number of nights from one training to the next. The nights between have updates; 0: all later ones.
      new_items: new products come, and are explored for three days, or until the experiment begins.
      minutes: from 18:00 to 18:20 the rows of users are updated every five minutes.
      experiment: an experiment begins. It ends when it is decided.
      outage: from 12:00 to 13:00 the broker of the events is away; at 15:00 the server is killed.
    """

    first: int = 2
    anew: int = 3
    new_items: int = 4
    minutes: int = 6
    experiment: int = 8
    outage: int = 10


@dataclasses.dataclass(frozen=True)
class Settings:
    """How large the world is; `requests` are those of a day."""

    days: int = 14
    users: int = 150
    items: int = 600
    new_items: int = 30
    requests: int = 500
    epochs: int = 8
    seed: int = 0
    calendar: Calendar = Calendar()
