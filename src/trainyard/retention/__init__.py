"""Retention: what may be removed (`policy`), what that means on disk (`plan`), `apply`, and `undo`.

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
from trainyard.retention.plan import Plan, PlanItem, Spared, combine
from trainyard.retention.policy import Decision, KeepPolicy, decide
from trainyard.retention.run_policy import (
    RunDecision,
    RunFacts,
    Uses,
    by_age,
    by_choice,
    by_size,
    by_state,
    find_uses,
    spare,
)
from trainyard.retention.trash import TrashEntry, list_trash
from trainyard.retention.undo import Report, undo

__all__ = [
    "Decision",
    "KeepPolicy",
    "Plan",
    "PlanItem",
    "Report",
    "RunDecision",
    "RunFacts",
    "Spared",
    "TrashEntry",
    "Uses",
    "apply",
    "by_age",
    "by_choice",
    "by_size",
    "by_state",
    "clean_checkpoints",
    "combine",
    "decide",
    "empty_trash",
    "find_uses",
    "list_trash",
    "remove_cache",
    "remove_logs",
    "remove_runs",
    "rotate",
    "run_facts",
    "spare",
    "strip_optimizer",
    "undo",
]
