"""Updates: a run that is trained further on new events, and the rollback."""

from tfrs_twotower.updates.full_update import Update, update_full
from tfrs_twotower.updates.rollback import Rollback, roll_back
from tfrs_twotower.updates.user_update import revert_users, update_users

__all__ = ["Rollback", "Update", "roll_back", "revert_users", "update_full", "update_users"]
