"""The summary on top of bench/RESULTS.md: which question, which answer, which command.

The answers are computed from the records.
"""

import collections

_INTRO = """## Summary

Each row is one benchmark: its question, its answer, and the command that measures it again. The answers are computed
from the tables below, which have all figures. All runs used two CPU cores; no GPU was measured.

- **Recall@K** is the share of a user's later items that stand among the first K. **NDCG@10** is like it for the first
  10, and counts higher ranks more. 1 is perfect. [The glossary](../docs/glossary.md) has all words.
- **Above**, **level**, **below**: the 95% interval of the paired difference lies above zero, around it, or below it.
- Compare figures within a row only. Logs, splits and machines differ between rows.
"""


def summary(results):
    """The summary as Markdown lines, a row for each question whose record is among `results`; [] without any."""
    records = {result["name"]: result for result in results}
    rows = [_row(records[name], question, answer) for name, question, answer in _QUESTIONS if name in records]
    if not rows:
        return []
    return [_INTRO, "| question | answer | section and command |", "| --- | --- | --- |", *rows, ""]


def _row(record, question, answer):
    module = " ".join(record["command"].split()[:3])  # the section has the options
    return f"| {question} | {answer(record['figures'])} | [{record['name']}](#{record['name']}): `{module}` |"


def _find(figures, **wanted):
    """The first row with these values."""
    return next(row for row in figures if all(row.get(key) == value for key, value in wanted.items()))


def _value(cell):
    """The number of a cell such as "0.2539 [0.204, 0.307]"."""
    return float(str(cell).split()[0])


def _short(number):
    """.254 of 0.2539."""
    return f"{_value(number):.3f}".removeprefix("0")


def _defaults(figures):
    order, parts = ("below", "within the interval", "above"), []
    for metric, name in (("ndcg@10", "NDCG@10"), ("recall@100", "Recall@100")):
        cases = collections.defaultdict(list)
        for row in figures:
            if row["metric"] == metric:
                cases[row["log"], row["split"]].append(order.index(row["against the best"]))
        worst = collections.Counter(min(verdicts) for verdicts in cases.values())
        parts.append(f"{name}: above in {worst[2]} of {len(cases)} cases, level in {worst[1]}, below in {worst[0]}")
    return ". ".join(parts) + " (the worst seed counts)"


def _recipes(figures):
    baselines = ("popularity", "popularity, last week", "item_knn", "EASE", "iALS")
    best = max((row for row in figures if row["model"] not in baselines), key=lambda row: row["ndcg@10"])
    beaten = max((row for row in figures if row["model"] in baselines), key=lambda row: row["ndcg@10"])
    return (f"`{best['model']}`, NDCG@10 {_short(best['ndcg@10'])}; the best baseline, {beaten['model']}, has "
            f"{_short(beaten['ndcg@10'])}. One seed")


def _tutorial(figures):
    shares = [f"{row['model']} {_short(row['top-100 accuracy, unfiltered'])}" for row in reversed(figures)]
    return "Top-100 accuracy: " + ", ".join(shares)


def _logq(figures):
    none, streaming = (
        _find(figures, negatives="in-batch", correction=name)["ndcg@10"] for name in ("none", "streaming")
    )
    return f"NDCG@10 {_short(streaming)} with it, {_short(none)} without (in-batch negatives, three seeds)"


def _refit(figures):
    rows = [row for row in figures if row["model"] == "refit"]
    gains = [f"+{_short(row['ndcg@10 better by'])} on {row['log']}" for row in rows]
    return "NDCG@10 on later events rises by " + ", ".join(gains)


def _whole_command(figures):
    ordered = sorted(figures, key=lambda row: row["events"])
    return ", ".join(f"{row['minutes']:.1f} minutes for {row['events']:,} events" for row in ordered)


def _ingest(figures):
    row = figures[-1]
    return f"{row['rows']:,} rows in {row['seconds']:.0f} s"


def _prepare(figures):
    rows = figures[-1]["rows"]
    ours, ingest = (_find(figures, rows=rows, way=way) for way in ("prepare", "ingest"))
    return (f"{rows:,} rows in {ours['seconds']:.0f} s and {ours['own_peak_mib']:.0f} MiB; read into memory: "
            f"{ingest['seconds']:.0f} s and {ingest['own_peak_mib']:.0f} MiB")


def _training(figures):
    ours, stock = (_find(figures, ids=1_000_000, model=name)["examples_per_second"]
                   for name in ("ours LazyAdam, ids encoded", "stock Adam, no metrics"))
    return f"{ours:,.0f} examples a second with a million ids; Keras' Adam: {stock:,.0f}"


def _evaluation(figures):
    times = [row["times as fast"] for row in figures if row["what"] == "ours"]
    return f"{min(times):.0f} to {max(times):.0f} times as fast as TFRS's, with the same result"


def _index(figures):
    scann, exact = _find(figures, index="ours, ScaNN"), _find(figures, index="ours, exact")
    return (f"ScaNN: {scann['ms_p50']:.2f} ms a query and {_short(scann['recall@100'])} of the best 100; exact search: "
            f"{exact['ms_p50']:.1f} ms ({scann['vectors']})")


def _online(figures):
    rest, process = _find(figures, path="REST, user id"), _find(figures, path="signature by vector, in process")
    return (f"{rest['ms_p50']:.1f} ms over REST, {process['ms_p50']:.1f} ms in process by vector (medians; a million "
            f"items, recall@100 of the index {_short(rest['recall@100'])})")


def _changed(figures):
    rows = figures[len(figures) // 2], figures[-1]
    times = [f"{row['ratio']:.1f} times as long with {row['changed']:,}" for row in rows]
    return "A search takes " + ", ".join(times)


def _cold_start(figures):
    profile, picks = (_find(figures, cold="users", device=name, **{"ids dropped": "0.05"})["recall@50"]
                      for name in ("profile", "profile + films picked as past"))
    return f"Films picked at sign-up: recall@50 {_short(picks)}, with the profile alone {_short(profile)}"


def _elicitation(figures):
    asked, popular = (_find(figures, asked=name, questions=15, reader="people")
                      for name in ("information, adaptive", "popular"))
    start = _find(figures, questions=0, reader="people")
    return (f"Recall@50 after 15 questions: {_short(asked['recall@50'])} by information, "
            f"{_short(popular['recall@50'])} by popularity ({asked['gain']}); before, {_short(start['recall@50'])}")


def _few_shot(figures):
    of = {(row["cold"], row["device"]): _short(row["recall@50"]) for row in figures if row["ids dropped"] == "0.05"}
    return (f"Recall@50 of new films {of['items', 'content']} → {of['items', 'content + start + steps']}; of new users "
            f"{of['users', 'profile']} → {of['users', 'past + start + steps']}, with the films as a past "
            f"{of['users', 'past']}")


def _exploration(figures):
    best = {}
    for row in figures:
        if row["cap"] not in best or row["regret"] < best[row["cap"]]["regret"]:
            best[row["cap"]] = row
    named = [f"{row['policy']} ({'no cap' if cap == 'none' else f'cap of {cap} showings'}): {row['of_uniform']:.2f}"
             for cap, row in best.items()]
    return "; ".join(named) + " of the regret of random choice"


def _replay(figures):
    without, full = _find(figures, arm="neither"), _find(figures, arm="full")
    return (f"Recall@100 {_short(without['recall@100'])} → {_short(full['recall@100'])}, recall@10 "
            f"{_short(without['recall@10'])} → {_short(full['recall@10'])}: little, on this log")


def _loop(figures):
    models, last = [[row[f"{day}'s model"] for row in figures] for day in ("today", "yesterday")], figures[-1]
    ahead = sum(today > yesterday for today, yesterday in zip(*models))
    return (f"On day {last['day']} {models[0][-1]:.2f} expected clicks a request; random {last['random']:.2f}, most "
            f"clicked {last['most clicked']:.2f}, yesterday's model {models[1][-1]:.2f} (below it on {ahead} of "
            f"{len(figures)} days). {_decided(figures)}")


def _decided(days):
    """What became of the experiment of `make loop`."""
    found = [(row["day"], row["what happened"].rpartition("decided for ")[2].partition(";")[0])
             for row in days if "decided for" in row["what happened"]]
    return "; ".join(f"The experiment was decided on day {day}, for {arm}" for day, arm in found) or (
        "The experiment was not decided")


def _statistics(figures):
    rows = {model: _find(figures, model=model) for model in ("without", "without, same batches", "with")}
    return "NDCG@10 " + ", ".join(f"{_short(row['ndcg@10'])} {model}" for model, row in rows.items())


def _replay_statistics(figures):
    rows = {row["arm"]: row for row in figures}
    return "Recall@100 " + ", ".join(f"{_short(row['recall@100'])} {arm}" for arm, row in rows.items())


def _user_update(figures):
    row = figures[-1]
    if "update_s" in row:  # a record of the function alone, as it was measured before
        return f"{row['update_s']:.1f} s for {row['new_events']:,} new events and {row['users']:,} users, in a process"
    return (f"{row['cpu_s']:.1f} CPU seconds for the whole command, {row['import_cpu_s']:.1f} of them for its imports, "
            f"with {row['new_events']:,} new events behind {row['events']:,}")


def _workers(figures):
    one, first, second, larger, _ = figures
    return (f"{first['faster']:.2f} times the examples a second of one with the same batch, "
            f"{larger['faster']:.2f} times with one twice as large; a step's input takes each "
            f"{first['input_cpu_ms']:.1f} and {second['input_cpu_ms']:.1f} CPU ms, against {one['input_cpu_ms']:.1f}; "
            f"the second reads {second['events_read'] / one['events_read']:.0%} of the events")


_QUESTIONS = (  # (record, question, answer)
    ("defaults", "Is `twotower train plain` better than the best of six baselines, on public logs?", _defaults),
    ("recipes", "Which recipe is best on MovieLens-100K, leave-last-out?", _recipes),
    ("tutorial_protocol", "What does the protocol of the TFRS tutorial give?", _tutorial),
    ("logq", "What does the logQ correction gain (MovieLens-100K)?", _logq),
    ("refit", "What does the second training, on all events, gain?", _refit),
    ("whole_command", "How long does `twotower train plain` take?", _whole_command),
    ("ingest", "How fast is a log read and checked?", _ingest),
    ("prepare", "What does it take to prepare a log on disk?", _prepare),
    ("training", "How fast is training?", _training),
    ("workers", "What do two workers gain, a core each?", _workers),
    ("evaluation", "How fast is exact evaluation?", _evaluation),
    ("index", "How fast is the index?", _index),
    ("online", "How long does a request take?", _online),
    ("changed_items", "What do items that changed since the export cost?", _changed),
    ("cold_start", "What helps new users (MovieLens-100K)?", _cold_start),
    ("elicitation", "Which questions tell most about a stranger (MovieLens-1M)?", _elicitation),
    ("few_shot", "What do a few steps on first events give (MovieLens-100K)?", _few_shot),
    ("exploration", "Which policy shows new items with the least regret?", _exploration),
    ("replay", "What does a daily full update gain (grocery log, 14 days)?", _replay),
    ("loop", "What does a shop gain that learns from what it shows (simulated people, 14 days)?", _loop),
    ("statistics", "What do counts of the last days and weeks gain (invoices of a shop)?", _statistics),
    ("replay_statistics", "What do they gain if a server counts on (grocery log, 14 days)?", _replay_statistics),
    ("user_update", "How long does an update of user rows take?", _user_update),
)
