"""`python -m dlrun`, which is the command `dlrun`."""

import os
import sys

if __name__ == "__main__":
    try:  # without contextlib, which not every Python has imported by now: it would come from the working folder
        if sys.path[0] == os.getcwd():  # Python's habit with -m; `dlrun` imports nothing from there
            del sys.path[0]
    except OSError:  # a working folder that is gone
        pass
try:
    from dlrun.cli import main
    from dlrun.processes import collect_rarely, end_process
except KeyboardInterrupt:
    print("\ninterrupted", file=sys.stderr)
    sys.exit(130)


def command() -> None:
    """The command `dlrun`: run the words of the command line and end the process."""
    collect_rarely()
    end_process(main())


if __name__ == "__main__":
    command()
