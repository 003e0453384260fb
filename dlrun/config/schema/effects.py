"""What changing a key does, as its contract says: `(int >= 1 or null; speed)`.

The identity of a run, names of sweeps, comparisons, `resume` and `rerun` depend on these effects.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """The effect of a key.

    Args:
        name: the word in the contract; empty for a key that changes the result.
        words: a description for help and `dlrun explain`.
        changes_result: whether the key is part of a run's identity.
        is_compared: whether the key has a column in comparisons.
        on_resume: when the key may change as a run is resumed: `never`, `longer` (to a larger limit only) or `always`.
    """

    name: str
    words: str
    changes_result: bool
    is_compared: bool
    on_resume: str = "always"


RESULT = Effect("", "changes the result", True, True, "never")
_ALL = (
    Effect("selects", "selects the best epoch; may change on resume", True, True),
    Effect("length", "sets the length of the run; may only grow on resume", True, True, "longer"),
    Effect("stops", "sets when the run stops early; may only grow on resume", True, True, "longer"),
    Effect("speed", "does not change the result; may change on resume", False, True),
    Effect("shown", "changes only what is shown; may change on resume", False, False),
    Effect("kept", "changes only what is kept, and where; may change on resume", False, False),
)
EFFECTS = {effect.name: effect for effect in _ALL}
