"""The explorer: a page that shows what a server answers. `answers` has its data, `map` the map of the items."""

from tfrs_twotower.serving.page.answers import PageAnswers
from tfrs_twotower.serving.page.page import OPEN_PATHS, Page, check_origin

__all__ = ["OPEN_PATHS", "Page", "PageAnswers", "check_origin"]
