"""How long a large table takes to load, and how much memory: `python tests/benchmarks/large_table.py [ROWS]`.

The file is made beforehand: 30 columns, most of them numbers, some whole, three categories, one target. Loading is
reading, typing, splitting and encoding, in a fresh process, beyond its imports.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

LOAD = """
import resource, sys, time
from pathlib import Path
import numpy, pandas, torch
from dlrun.data.table.table import table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, begun = time.perf_counter(), time.process_time()
data = table(seed=0, path=sys.argv[1], target="target")
seconds, busy = time.perf_counter() - start, time.process_time() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{data.train.samples:,} training rows of {data.spec.input_shape[0]} features: {seconds:.2f} s "
      f"({busy:.2f} s of CPU), {peak / 2**10:,.0f} MiB at most ({before / 2**10:,.0f} after the imports)")
"""


def make(path: Path, rows: int) -> None:
    """Write the table in blocks."""
    import numpy as np
    import pandas

    random = np.random.default_rng(0)
    for begin in range(0, rows, 100_000):
        count = min(100_000, rows - begin)
        columns: dict[str, object] = {f"x{i}": random.normal(0, 10, count).round(4) for i in range(22)}
        columns |= {f"n{i}": random.integers(0, 50, count) for i in range(4)}
        columns |= {f"c{i}": random.choice(["red", "green", "blue", "grey"], count) for i in range(3)}
        columns["target"] = random.normal(100, 20, count).round(2)
        frame = pandas.DataFrame(columns)
        frame.to_csv(path, mode="a", header=begin == 0, index=False)


def main(rows: int) -> None:
    """Make the table and load it three times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        make(path, rows)
        print(f"{rows:,} rows by 30 columns, {path.stat().st_size / 2**20:,.0f} MiB")
        for _ in range(3):
            subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
