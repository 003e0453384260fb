"""`python -m dlrun` is the command `dlrun`; Ctrl-C while it is being imported ends it in one line, too."""

import os
import sys
from contextlib import suppress

if __name__ == "__main__":
    with suppress(OSError):  # a working folder that is gone
        if sys.path[0] == os.getcwd():  # Python's habit with -m; `dlrun` imports nothing from there
            del sys.path[0]
try:
    from dlrun.cli import main
except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
