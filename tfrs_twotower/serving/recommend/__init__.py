"""One user's answer by the rules of the request: POST /v1/recommend.

`asked` reads the request, `selection` says which items may be in its answer, `builtin` holds the server's own channels,
`recommendations` puts them together.
"""

from tfrs_twotower.serving.recommend.recommendations import Recommendations

__all__ = ["Recommendations"]
