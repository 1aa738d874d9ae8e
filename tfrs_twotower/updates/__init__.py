"""Updates: a run that is trained further on what happened since."""

from tfrs_twotower.updates.full_update import Update, update_full
from tfrs_twotower.updates.user_update import take_back_users, update_users

__all__ = ["Update", "take_back_users", "update_full", "update_users"]
