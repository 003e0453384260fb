"""Which schedules depend on how long the run is. Read on resume, before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FREE = ("none", "step", "multistep", "exponential", "plateau", "cyclic")
SPANNING = ("cosine", "warmup_cosine", "linear", "polynomial", "onecycle")  # `total_epochs` null: the whole run


CHOICES = ("stretch", "hold", "restart")  # of `dlrun resume --schedule`


def choose(words: str) -> str:
    """How to say what becomes of a schedule when a run is resumed with `words`, which change its length."""
    return (
        f"Choose with `dlrun resume RUN {words} --schedule stretch` (computed for the new length, from where it "
        "stands), `hold` (it ends as planned, and its last rate stays) or `restart` (it begins again, over the epochs "
        "that are left)."
    )


def depends_on_length(name: str, settings: Mapping[str, Any]) -> bool:
    """Would another number of epochs change the learning rates of the epochs before?

    Then a resumed run must keep its number. `settings` is the configuration's section `scheduler`. A user's
    own schedule may depend on it, so it counts as one that does.
    """
    if name in FREE:
        return False
    return not (name in SPANNING and settings.get("total_epochs") is not None)
