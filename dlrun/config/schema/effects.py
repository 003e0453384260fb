"""What a key changes: the last word of its contract, as in `(int >= 1 or null; speed)`.

Everything that tells runs apart (identity, names of sweeps, comparisons), goes on with them or repeats them asks here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """What changing a key does.

    Args:
        name: the word in the contract; empty for a key that changes the result.
        words: the effect in words, for help and `dlrun explain`.
        changes_result: runs that differ in the key are different runs: it is part of their identity.
        is_compared: the key has a column in comparisons.
        on_resume: whether the key may change when a run is resumed: `never`, `longer` (only to a longer run), `always`.
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
