"""Retention: what may be removed (`policy`, `run_policy`), what that means on disk (`cleaning`), `apply`, and `undo`.

Nothing else in Trainyard deletes. Everything goes through the yard's trash, from a plan that states why.
"""

from trainyard.retention.apply import apply, empty_trash, rotate
from trainyard.retention.plan import Plan, PlanItem, combine
from trainyard.retention.policy import KeepPolicy
from trainyard.retention.trash import TrashEntry, list_trash
from trainyard.retention.undo import undo

__all__ = [
    "KeepPolicy",
    "Plan",
    "PlanItem",
    "TrashEntry",
    "apply",
    "combine",
    "empty_trash",
    "list_trash",
    "rotate",
    "undo",
]
