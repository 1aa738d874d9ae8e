"""A made-up shop around the grocery sample: people with hidden tastes, who click on what they are shown."""

import dataclasses

import numpy as np
import pandas as pd
import scipy.sparse
from implicit.als import AlternatingLeastSquares

from tfrs_twotower.recipes import retail

K = 10
_FACTORS = 32
_SEEN = 0.9  # a place is looked at with this share of the chance of the place before
_SHARPNESS, _HALF = 2.5, 2.2  # of the chance of a click as a function of the affinity
HOURS = 24


@dataclasses.dataclass(frozen=True)
class Shop:
    """What is true and what nobody but the simulation knows.

    Attributes:
      users: int64 [users], households of the sample.
      items: a table with a row for each product: `item_id` and its features.
      clicks: float64 [users, items], the chance of a click on an item that is looked at.
      looks: float64 [K], the chance that a place is looked at.
      age: the users' `age`.
    """

    users: np.ndarray
    items: pd.DataFrame
    clicks: np.ndarray
    looks: np.ndarray
    age: list

    def expected(self, user, shown):
        """The clicks that a list of item rows can expect of a user row."""
        return float(self.clicks[user, shown] @ self.looks[:len(shown)])

    def random(self, users, items):
        """The clicks that K random ones of the items can expect of user rows, on average."""
        return float(self.clicks[np.ix_(users, items)].mean() * self.looks.sum())

    def best(self, users, items):
        """The clicks that the best K of the items can expect of user rows, on average."""
        return float((np.sort(self.clicks[np.ix_(users, items)])[:, :-K - 1:-1] @ self.looks).mean())

    def act(self, user, shown, random):
        """(places that were looked at, places that were clicked): people read from the top and stop somewhere."""
        read = int((random.random() < self.looks[:len(shown)]).sum())  # one draw: whoever reads place 4 has read 3
        clicked = random.random(read) < self.clicks[user, shown[:read]]
        return list(range(read)), np.flatnonzero(clicked).tolist()


def make_shop(users, items, seed):
    """A `Shop` of the sample's most frequent `items` products and of some households.

    An affinity is the cosine between a household and a product after a matrix factorisation of the whole sample (iALS),
    standardised over the products. So a product that sells well is not one that everybody clicks.
    """
    sales = pd.read_parquet(retail.sample("transactions.parquet"), columns=["household_id", "product_id"])
    products = pd.read_parquet(retail.sample("products.parquet"))
    households = pd.read_parquet(retail.sample("households.parquet")).sort_values("household_id", ignore_index=True)
    bought = sales[sales.product_id.isin(products.dropna().product_id)].drop_duplicates().product_id.value_counts()
    chosen = bought.index[:items].sort_values()
    sales = sales[sales.product_id.isin(chosen)].groupby(["household_id", "product_id"]).size()
    row = households.set_index("household_id").index.get_indexer(sales.index.get_level_values(0))
    column = chosen.get_indexer(sales.index.get_level_values(1))
    counts = scipy.sparse.csr_matrix((np.log1p(sales.to_numpy(np.float32)), (row, column)), (len(households), items))
    model = AlternatingLeastSquares(_FACTORS, random_state=seed, num_threads=1)
    model.fit(counts, show_progress=False)
    who = np.sort(np.random.default_rng(seed).choice(np.flatnonzero(counts.getnnz(1)), users, replace=False))
    taste, kind = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
                   for vectors in (model.user_factors[who], model.item_factors))
    affinity = (taste @ kind.T).astype(np.float64)
    affinity = (affinity - affinity.mean(1, keepdims=True)) / affinity.std(1, keepdims=True)
    table = products.set_index("product_id").loc[chosen].reset_index(names="item_id")
    table["sold"] = bought[chosen].to_numpy()
    return Shop(
        households.household_id.to_numpy()[who], table,
        1 / (1 + np.exp(-_SHARPNESS * (affinity - _HALF))), _SEEN ** np.arange(K),
        households.age[who].tolist(),
    )
