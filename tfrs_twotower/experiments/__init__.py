"""Experiments: arms that answer different users, and what their users did.

`arms` says which arm a user has. `reading` counts answers and events by user. `comparing` compares the arms.
"""

from tfrs_twotower.experiments.arms import Arm, Arms, read_arms
from tfrs_twotower.experiments.comparing import ArmComparison, compare_arms, imbalance
from tfrs_twotower.experiments.reading import Participants, read_participants

__all__ = [
    "Arm", "Arms", "ArmComparison", "Participants", "compare_arms", "imbalance", "read_arms",
    "read_participants",
]
