"""Exploration of new items on planted click rates: regret against uniform, with and without a cap.

    .venv/bin/python -m bench.bench_exploration               about three minutes; draws docs/exploration_regret.png

One hundred new items have click rates drawn from Beta(1, 19), whose mean is 5%. One is shown a round. Regret is what an
oracle that knows the rates gains more, in clicks, averaged over seeds; with a cap the oracle obeys it too.
"""

import argparse
from pathlib import Path

import numpy as np

from bench import common
from tfrs_twotower.exploration import EpsilonGreedy, Thompson, simulate
from tfrs_twotower.extras import require
from tfrs_twotower.report import style

PICTURE = Path(__file__).parents[1] / "docs" / "exploration_regret.png"
ITEMS, RATE, STRENGTH = 100, 0.05, 20
POLICIES = {
    "uniform": EpsilonGreedy(epsilon=1.0),
    "ε-greedy, ε = 0.1": EpsilonGreedy(epsilon=0.1),
    "ε-greedy, ε = 0.1, prior of the mean rate": EpsilonGreedy(0.1, STRENGTH * RATE, STRENGTH * (1 - RATE)),
    "Thompson": Thompson(),
    "Thompson, prior of the mean rate": Thompson(STRENGTH * RATE, STRENGTH * (1 - RATE)),
}


def curves(rounds, seeds, cap):
    """{policy: float64 [seeds, rounds]} of regrets, and the mean clicks of the oracle."""
    planted = [np.random.default_rng(seed).beta(STRENGTH * RATE, STRENGTH * (1 - RATE), ITEMS) for seed in range(seeds)]
    found = {
        name: np.stack([simulate(policy, rates, rounds, cap, seed)[0] for seed, rates in enumerate(planted)])
        for name, policy in POLICIES.items()
    }
    best = [np.repeat(np.sort(rates)[::-1], cap or rounds)[:rounds].sum() for rates in planted]
    return found, float(np.mean(best))


def draw(rounds, panels):
    """Draws one panel for each cap."""
    with require("matplotlib").rc_context(style.pyplot()):
        figure = require("matplotlib.figure").Figure(figsize=(8.5, 7), layout="constrained")
        for axes, (cap, found) in zip(figure.subplots(len(panels), 1, sharex=True), panels.items()):
            for name, regret in found.items():
                axes.plot(np.arange(1, rounds + 1), regret.mean(axis=0), label=name.replace(", prior", ",\nprior"))
            axes.set_title("no cap" if cap is None else f"at most {cap:,} showings of an item")
            axes.set_ylabel("regret: clicks that\nthe oracle gains more")
            axes.margins(x=0)
            style.name_lines(axes)
        axes.set_xlabel("rounds")
        figure.savefig(PICTURE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    rows, panels = [], {}
    for cap in (None, 1000):
        panels[cap], best = curves(args.rounds, args.seeds, cap)
        uniform = panels[cap]["uniform"][:, -1].mean()
        for name, regret in panels[cap].items():
            ends = regret[:, -1]
            rows.append({
                "policy": name, "cap": "none" if cap is None else str(cap), "oracle_clicks": round(best, 1),
                "regret_at_a_tenth": round(regret[:, args.rounds // 10 - 1].mean(), 1),
                "regret": round(ends.mean(), 1),
                "standard_error": round(ends.std(ddof=1) / np.sqrt(args.seeds), 1),
                "of_uniform": round(ends.mean() / uniform, 3),
            })
    draw(args.rounds, panels)
    common.record("exploration", rows)


if __name__ == "__main__":
    main()
