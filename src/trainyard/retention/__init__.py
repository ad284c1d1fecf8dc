"""Retention: what may be removed (`policy`, `run_policy`), what that means on disk (`plan`), `apply`, and `undo`.

Nothing else in Trainyard deletes. Everything goes through the yard's trash, from a plan that states why.
"""

from trainyard.retention.apply import apply, empty_trash, rotate
from trainyard.retention.cleaning import (
    clean_checkpoints,
    remove_cache,
    remove_logs,
    remove_runs,
    run_facts,
    strip_optimizer,
)
from trainyard.retention.plan import Plan, PlanItem, combine
from trainyard.retention.policy import KeepPolicy
from trainyard.retention.run_policy import by_choice, by_state, find_uses
from trainyard.retention.trash import TrashEntry, list_trash
from trainyard.retention.undo import undo

__all__ = [
    "KeepPolicy",
    "Plan",
    "PlanItem",
    "TrashEntry",
    "apply",
    "by_choice",
    "by_state",
    "clean_checkpoints",
    "combine",
    "empty_trash",
    "find_uses",
    "list_trash",
    "remove_cache",
    "remove_logs",
    "remove_runs",
    "rotate",
    "run_facts",
    "strip_optimizer",
    "undo",
]
