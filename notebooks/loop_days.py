"""The days of the loop: what people are shown, what they do, and what happens on some days."""

import collections
import contextlib
import datetime
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from notebooks.loop_nights import CLICK, FEATURES, NAME, Trainer
from notebooks.loop_parts import Clock, Server, Topic, verb
from notebooks.loop_world import HOURS, K, make_shop
from tfrs_twotower.experiments import compare_arms, read_participants
from tfrs_twotower.online import SHADOW, open_stores, read_answers

BEGIN = int(datetime.datetime(2026, 11, 2, tzinfo=datetime.timezone.utc).timestamp())  # a Monday
HOUR, DAY, OPENS, CLOSES = 3600, 86_400, 8, 22
LINES = ("today's model", "yesterday's model", "most clicked", "random")


class Loop:
    """The shop, its server, and what is counted.

    Args:
      settings: `Settings`.
      folder: for all files; it must be new or empty.
      say: a function that is called with each line of the story.
      runs: the folder of the runs; None: inside `folder`.
    """

    def __init__(self, settings, folder, say=print, runs=None):
        self.settings, self.calendar, self.say = settings, settings.calendar, say
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise SystemExit(f"{self.folder} must be new or empty, as a loop starts without data. Remove it.")
        self.random = np.random.default_rng(settings.seed)
        self.shop = make_shop(settings.users, settings.items, settings.seed)
        self.row = {int(item): row for row, item in enumerate(self.shop.items.item_id)}
        late = self.random.choice(settings.items, settings.new_items, replace=False)
        self.is_new, self.came = np.isin(np.arange(settings.items), late), False
        self.clock = Clock(self.folder / "clock")
        self.clock.set(BEGIN)
        self.store, self.answers = f"sqlite:{self.folder}/store.db", self.folder / "answers"
        self.trainer = Trainer(runs or self.folder / "runs", self.store, self.answers, self.folder / "items.parquet",
                               self.folder / "yesterday", settings.epochs, settings.seed)
        self.clicks = collections.Counter()  # by item row
        self.acknowledged, self.days, self.notes = [], [], []
        self.topic, self.server, self.experiment, self.updates, self.waited = None, None, None, [], 0

    # --- day 0
    def open(self):
        """Day 0: lists in place of a model, and the server."""
        self._write_items(self._there())
        sold = self.shop.items[~self.is_new].sort_values("sold", ascending=False).item_id.to_numpy()
        dealt = self.random.permutation(sold[:HOURS * K])
        lists = pd.DataFrame({"hour": np.arange(len(dealt)) % HOURS, "item_id": dealt})
        lists.to_csv(self.folder / "by_hour.csv", index=False)
        self.say(verb("cold-start", self.trainer.items, "--name", NAME, "--runs", self.trainer.folder, "--list",
                      f"hour={self.folder}/by_hour.csv", "--input", "user_id=whole", "--input", "age=text"))
        self.trainer.keep(self.trainer.version())
        newcomers = json.dumps({"channels": ["popular"], "share": 0.3, "half_after": 3})
        (self.folder / "newcomers.json").write_text(newcomers)
        self._serve([{"name": "model", "share": 1.0}])
        for user, age in zip(self.shop.users, self.shop.age):
            profile = {"age": age if isinstance(age, str) else None}
            self.server.send(f"/v1/users/{user}", {"profile": profile}, "put")
        return self

    def _write_items(self, rows):
        self.shop.items.loc[rows, ["item_id", *FEATURES]].to_parquet(self.trainer.items, index=False)

    def _serve(self, arms):
        """Starts the server, or starts it anew, with these arms and the shadow of yesterday's model."""
        shadow = {"name": "yesterday", "share": 1.0, "shadow": True, "root": str(self.folder / "yesterday")}
        file = self.folder / "arms.json"
        file.write_text(json.dumps({"salt": "loop", "arms": [*arms, shadow]}))
        if self.server:
            self.server.stop()
            self.server.start()
        else:
            options = ["--store", self.store, "--log-requests", self.answers, "--items-log", self.folder / "items",
                       "--explore", self.folder / "new_items.db", "--explore-share", 0.5, "--explore-kinds", CLICK,
                       "--newcomers", self.folder / "newcomers.json", "--arms", file]
            self.server = Server(self.clock, NAME, self.trainer.root, options, self.folder / "serve.log")
        self.server.ready()

    # --- a day
    def day(self, number):
        """A day of requests and the night after it; returns its row of the table."""
        calendar, midnight, start = self.calendar, BEGIN + (number - 1) * DAY, time.perf_counter()
        self.notes, popular = [], self._most_clicked()
        self._morning(number)
        moments = np.sort(self.random.integers(OPENS * HOUR, CLOSES * HOUR, self.settings.requests))
        asked, before = [], 0
        for place, moment in enumerate(moments.tolist()):
            self.clock.set(midnight + moment)
            if number == calendar.outage:
                self._disturb([hour for hour in (12, 13, 15) if before < hour * HOUR <= moment])
            if number == calendar.minutes:
                self._minutes(any(before < 18 * HOUR + late <= moment for late in range(0, 1201, 300)))
            asked.append(self._request(number, place))
            before = moment
        row = self._figures(number, midnight, asked, popular)
        self.clock.set(midnight + DAY)
        self._evening(number)
        self._night(number, midnight + DAY)
        row |= {"seconds": round(time.perf_counter() - start), "what happened": "; ".join(self.notes)}
        self.days.append(row)
        figures = ", ".join(f"{name} {row[name]:.2f}" for name in LINES)
        self.say(f"day {number}, version {row['version']}: {figures}. {row['what happened']}")
        return row

    def _request(self, day, number):
        """One request: what is shown, looked at and clicked; returns (user row, item rows, clicks)."""
        user = int(self.random.integers(len(self.shop.users)))
        body = {"user_id": int(self.shop.users[user]), "k": K}
        if self.calendar.new_items and 0 <= day - self.calendar.new_items < 3 and not self.experiment:
            body["channels"] = {"fresh": 1}  # in place of an arm's channels, if there were arms
        answer = self.server.send("/v1/recommend", body)
        shown = np.array([self.row[item["item_id"]] for item in answer["items"]])
        looked, clicked = self.shop.act(user, shown, self.random)
        if looked:
            seen = {"answer_id": answer["answer_id"], "places": looked}
            self.server.send("/v1/impressions", {"impressions": [seen]})
        events = [{"event_id": f"{day}-{number}-{place}", "user_id": body["user_id"],
                   "item_id": int(self.shop.items.item_id[shown[place]]), "timestamp": int(self.clock.now()) + 5,
                   "event": CLICK, "answer": answer["answer_id"], "place": place} for place in clicked]
        self._record(events, by_topic=self.topic is not None and user % 2)
        self.clicks.update(shown[clicked].tolist())
        return user, shown, len(clicked)

    def _record(self, events, by_topic):
        if by_topic:
            for event in events:
                self.topic.send(event)
        elif events:
            self.server.send("/v1/events", {"events": events})
            self.acknowledged += [event["event_id"] for event in events]

    def _figures(self, number, midnight, asked, popular):
        """The row of a day: clicks per request, and what each kind of list could expect of the same requests."""
        today, yesterday = self._of_model(read_answers(self.answers, midnight, midnight + DAY).to_pandas())
        who, there = [user for user, *_ in asked], self._there()
        means = {
            "clicks": np.mean([clicks for *_, clicks in asked]),
            "served": np.mean([self.shop.expected(user, shown) for user, shown, _ in asked]),
            "today's model": today, "yesterday's model": yesterday,
            "most clicked": np.mean([self.shop.expected(user, popular) for user in who]),
            "random": self.shop.random(who, there), "best possible": self.shop.best(who, there),
        }
        return {"day": number, "version": int(self.trainer.version().name), "requests": len(asked),
                **{name: round(float(mean), 2) for name, mean in means.items()}}

    def _of_model(self, table):
        """(today's, yesterday's): what the models' lists can expect on average, for people of the model's arm."""
        shown = table[~table.arm.str.startswith(SHADOW)]
        today = shown[shown.arm == "model"] if (shown.arm == "model").any() else shown
        yesterday = table[(table.arm == f"{SHADOW}yesterday") & table.user_id.isin(today.user_id)]
        users = {str(user): row for row, user in enumerate(self.shop.users)}
        return [np.mean([self.shop.expected(users[user], np.array([self.row[int(item)] for item in items]))
                         for user, items in zip(of.user_id, of.item_id)]) for of in (today, yesterday)]

    def _there(self):
        """The rows of the items that the shop has by now."""
        return np.flatnonzero(~self.is_new | self.came)

    def _most_clicked(self):
        """The item rows that were clicked most so far; without clicks the first ones of the table."""
        return np.array(sorted(self._there(), key=lambda row: -self.clicks[row])[:K])

    # --- what happens on some days
    def _morning(self, number):
        if number == self.calendar.new_items:
            rows = self.shop.items.loc[self.is_new, ["item_id", *FEATURES]].to_dict("records")
            self.server.send("/v1/items", {"changed": rows})
            self.came = True
            self._write_items(self._there())
            self.notes.append(f"{len(rows)} new products")
        if number == self.calendar.experiment:
            self._serve([{"name": "model", "share": 0.5},
                         {"name": "best-sellers", "share": 0.5, "channels": {"popular": K}}])
            self.experiment = BEGIN + (number - 1) * DAY
            self.notes.append("an experiment begins: half of the people get best-sellers")
        if number == self.calendar.outage:
            with contextlib.suppress(ImportError, StopIteration):  # no Kafka client, or one without the mock cluster
                self.topic = Topic(self.clock, self.store, self.folder)

    def _disturb(self, hours):
        """The broker is away from 12:00 to 13:00; the server is killed at 15:00 and comes back at once."""
        if self.topic and 12 in hours:
            self.topic.cluster.kill()
        if self.topic and 13 in hours:
            self.waited = self.topic.waiting()
            self.topic.cluster.start()
        if 15 in hours:
            self.server.kill()
            self.server.start()

    def _minutes(self, due):
        """Every five minutes from 18:00 to 18:20: what people did becomes rows of users."""
        start = time.perf_counter()
        if due and self.trainer.update_users(int(self.clock.now())):
            self.updates.append(time.perf_counter() - start)

    def _evening(self, number):
        if number == self.calendar.minutes:
            self.notes.append(f"{len(self.updates)} updates of user rows, {np.mean(self.updates):.1f} s each")
        if number == self.calendar.outage:
            if self.topic:
                self._drain()
            self.notes.append(f"the server was killed, {self.server.sent_again} requests were sent again")
        if self.experiment:
            self._look()

    def _drain(self):
        """Waits until the store has all that the broker has acknowledged."""
        self.topic.flush()
        end = time.monotonic() + 60
        while set(self.topic.acknowledged) - set(self.stored()) and time.monotonic() < end:
            time.sleep(0.2)
        self.acknowledged += self.topic.acknowledged
        self.notes.append(f"{len(self.topic.acknowledged)} events by Kafka, {self.waited} of them waited for it")
        self.topic.close()
        self.topic = None

    def _look(self):
        """Looks at the experiment; when it is decided, the better arm serves everybody."""
        with contextlib.closing(open_stores(self.store)) as stores:
            found = read_participants(self.answers, stores, CLICK, self.experiment, int(self.clock.now()))
        control, other = compare_arms(found, "model", "answer", planned=self.settings.users)
        low, high = other.interval
        self.notes.append(f"{other.arm} against {control.arm}: {other.difference:+.2f} [{low:+.2f}, {high:+.2f}]")
        if low > 0 or high < 0:
            self.experiment = None
            best = other.arm if low > 0 else control.arm
            self._serve([{"name": best, "share": 1.0, **({"channels": {"popular": K}} if low > 0 else {})}])
            self.notes.append(f"decided for {best}")

    # --- the night
    def _night(self, number, until):
        """A training from the beginning, or an update: of the store alone."""
        if number < self.calendar.first or number == self.settings.days:
            return
        before = self.trainer.version()
        nights, anew = number - self.calendar.first, self.calendar.anew
        begins = nights % anew == 0 if anew else nights == 0
        self.notes.append(self.trainer.train(until) if begins else self.trainer.update(until))
        if (after := self.trainer.version()) != before:
            self.trainer.keep(before)
            self.server.serves(int(after.name))

    # --- the end
    def stored(self):
        """The ids of all events in the store."""
        with contextlib.closing(open_stores(self.store)) as stores:
            return [event.event_id for page in stores.history.events(0, BEGIN + 99 * DAY) for event in page]

    def close(self):
        """Stops the server; returns what was acknowledged, and how much of it is lost or there twice."""
        self.server.stop()
        stored = self.stored()
        self.say(verb("collect", self.store, "--log", self.answers, "--out", self.folder / "log",
                      "--until", int(self.clock.now())).replace(f"{self.folder}/", ""))
        return {"acknowledged": len(self.acknowledged), "lost": len(set(self.acknowledged) - set(stored)),
                "twice": len(stored) - len(set(stored))}
