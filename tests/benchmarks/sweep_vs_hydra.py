"""How long 24 runs on digits take as a dlrun sweep, against a ten-line hydra.main script that calls dlrun's own train.

    python tests/benchmarks/sweep_vs_hydra.py [EPOCHS]

Both run the same 24 configurations, one after the other on the same quiet machine; Hydra's basic launcher runs them
in turn in one process (everything imported once), dlrun in as many worker processes as there are cores. The ratio is
to be at most 0.6 on two cores. EPOCHS makes one run take about three seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import hydra
from hydra.core.config_store import ConfigStore

import dlrun

ConfigStore.instance().store(name="experiment", node={"optimizer": "adam", "seed": 0})

@hydra.main(version_base=None, config_name="experiment")
def main(cfg):
    run = dlrun.train([f"optimizer={cfg.optimizer}", f"seed={cfg.seed}", "trainer.epochs=EPOCHS", "device=cpu"])
    print(run.summary["test"]["accuracy"])

main()
"""
SPACE = ["optimizer=sgd,momentum,rmsprop,adam", "seed=0,1,2,3,4,5"]


def seconds(words: list[str], folder: Path) -> float:
    """The wall-clock time of a command, its start included. Its output goes into a file."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for users, modules are compiled once, not at each start
    started = time.perf_counter()
    with open(folder / "output.txt", "a") as output:
        subprocess.run(words, cwd=folder, env=environment, stdout=output, stderr=output, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure both and print the ratio."""
    epochs = sys.argv[1] if len(sys.argv) > 1 else "360"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "script.py").write_text(SCRIPT.replace("EPOCHS", epochs))
        words = [*SPACE, f"trainer.epochs={epochs}", "device=cpu"]
        dlrun = seconds([sys.executable, "-m", "dlrun", "-m", *words], folder)
        print(f"dlrun -m              {dlrun:6.1f} s", flush=True)
        hydra = seconds([sys.executable, "script.py", "-m", *SPACE, "hydra.sweep.dir=hydra"], folder)
        print(f"hydra.main, in turn   {hydra:6.1f} s  ({hydra / 24:.2f} s a run)")
        finished = list(folder.glob("outputs/sweeps/*/jobs/*/summary.json"))
        alone = list(folder.glob("outputs/????-??-??/*/summary.json"))
        assert len(finished) == len(alone) == 24, "not every run has finished"
    print(f"ratio                 {dlrun / hydra:6.2f}")


if __name__ == "__main__":
    main()
