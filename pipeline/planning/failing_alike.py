"""When the rest of an arm waits: its trials fail alike, and more of them would say nothing new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

#: What the reason begins with where a trial was given up before it was begun.
FIRST_BATCH = "on its first batch: "
#: Trials that failed for one reason, before which the rest goes on.
ALIKE = 2
#: Reasons that may be a point's own (a learning rate that is too high), or the machine's.
OF_ONE_TRIAL = ("TrainingDivergedError", "its process died")


def common_reason(reasons: Iterable[str]) -> str:
    """What an arm without any result fails with; empty where its other trials may do better."""
    counts = Counter(reason for reason in reasons if not reason.startswith(OF_ONE_TRIAL))
    for reason, count in counts.most_common():
        if count >= ALIKE or reason.startswith(FIRST_BATCH):
            return reason
    return ""
