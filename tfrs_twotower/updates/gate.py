"""Whether an update is good enough to be published."""

TOLERANCE = 0.01  # share of the serving version's value that an update may be below it


def refusal(metric, serving, updated, interval, queries):
    """Why an update is refused, in one sentence; None where it is published.

    Refused is what is below the serving version by more than 1% of its value, whatever the interval says: with few
    queries an interval touches zero at almost any loss. And refused is what is surely below it, by the interval, be it
    less than 1%. With few queries that also refuses some updates that are as good: a day without one costs less than a
    version that is worse.

    Args:
      metric: its name.
      serving, updated: its values on the same queries; larger is better.
      interval: 95% paired bootstrap interval of updated − serving.
      queries: how many there were.
    """
    low, high = interval
    fell = f"{metric} of the newest {queries:,} queries fell from {serving:.4f} to {updated:.4f}"
    if updated - serving < -TOLERANCE * serving:
        return (
            f"{fell}, by {(serving - updated) / serving:.1%} where {TOLERANCE:.0%} is allowed (difference within "
            f"[{low:+.4f}, {high:+.4f}])."
        )
    if high < 0:
        return f"{fell}: less than {TOLERANCE:.0%}, but surely (difference within [{low:+.4f}, {high:+.4f}])."
    return None
