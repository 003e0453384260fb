"""Run the reference experiments and write docs/experiments.md.

    python -m tests.experiments [--quick] [--only NAME ...] [--again] [--page] [--place DIR]

Run from the project's root, with DLRUN_DATA at a folder that holds MNIST and the names. What is finished is not run
again, what was interrupted goes on: the command may be repeated at any time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .page import write_page
from .running import command, run
from .table import CASES, Case

ROOT = Path(__file__).resolve().parents[2]
FILES = {"MNIST": "MNIST/raw", "names": "names/names_train.csv.gz"}


def main() -> int:
    """Run what is asked for, write the page; 1 if a run failed."""
    options = arguments()
    failed = []
    for case in [] if options.page else chosen(options):
        if not available(case):
            print(f"skipped {case.key}: there is no {FILES[case.needs]} in the data root (DLRUN_DATA)", flush=True)
            continue
        started = time.monotonic()
        print(f"{command(case)}", flush=True)
        code = run(case, options.place / case.key, again=options.again)
        print(f"  exit code {code}, {time.monotonic() - started:.0f} s", flush=True)
        failed += [case.key] if code else []
    print(f"wrote {write_page(ROOT / 'docs', options.place)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser("python -m tests.experiments", description="Run the reference experiments.")
    parser.add_argument("--quick", action="store_true", help="only those that need no data and take seconds")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[case.key for case in CASES], default=[])
    parser.add_argument("--again", action="store_true", help="run anew what is finished")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page from what is there")
    parser.add_argument("--place", type=Path, default=ROOT / "outputs" / "experiments", help="where the runs lie")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Case]:
    """The rows that are asked for."""
    rows = [case for case in CASES if not options.only or case.key in options.only]
    return [case for case in rows if not (options.quick and case.needs)]


def available(case: Case) -> bool:
    """Are its data there?"""
    from dlrun.data.paths import data_root

    return not case.needs or (data_root(None) / FILES[case.needs]).exists()


if __name__ == "__main__":
    sys.exit(main())
