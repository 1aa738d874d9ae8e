"""The gate: whether an update is good enough to be published."""

TOLERANCE = 0.01  # an update may be worse by this share of the serving version's value


def refusal(metric: str, serving: float, updated: float, interval: tuple[float, float], queries: int) -> str | None:
    """Why an update is refused, in one sentence; None if it may be published.

    An update is refused if it is more than 1% below the serving version, whatever the interval: with few queries the
    interval contains zero for almost any loss. It is also refused if the whole interval lies below zero, even at less
    than 1%. With few queries some good updates are refused too. That is accepted: a day without an update costs less
    than a worse version.

    Args:
      metric: its name.
      serving, updated: its values on the same queries; larger is better.
      interval: 95% paired bootstrap interval of updated − serving.
      queries: the number of queries.
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
