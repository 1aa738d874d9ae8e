"""Recommends items to one user by the rules of the request: POST /v1/recommend.

`request` reads the request. `selection` says which items may be in the answer. `builtin` holds the server's own
channels. `unknown_users` finds users without any data. `recommendations` puts them together.
`questions` are those to a stranger: /v1/elicit.
"""

from tfrs_twotower.serving.recommend.builtin import BUILTIN
from tfrs_twotower.serving.recommend.questions import Questions
from tfrs_twotower.serving.recommend.recommendations import Recommendations, as_kept

__all__ = ["BUILTIN", "Questions", "Recommendations", "as_kept"]
