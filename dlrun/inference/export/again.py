"""Run an exported file on rows, in a process of its own that does not import dlrun.

    python again.py FOLDER        FOLDER/task.json and FOLDER/rows.npz to FOLDER/answers.npz and FOLDER/done.json

Of a file of weights, whose module is not in it, the tensors are read and their digests told.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

RowArrays = tuple[np.ndarray, ...]
TIMED, WARM = 20, 3  # calls with one row


def run_onnx(path: str, names: list[str]) -> Callable[[RowArrays], np.ndarray]:
    """The file as a function, by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


def run_pt2(path: str, names: list[str]) -> Callable[[RowArrays], np.ndarray]:
    """The file as a function, by torch.export."""
    import torch

    torch.set_num_threads(1)
    net = torch.export.load(path).module()

    def run(arrays: RowArrays) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = net(*(torch.from_numpy(array) for array in arrays)).numpy()
        return found

    return run


def file_tensors(path: str, kind: str) -> dict[str, Tensor]:
    """The tensors of a file of weights."""
    if kind == "safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def tensor_digest(tensor: Tensor) -> str:
    """The type, shape and SHA-256 of a tensor's bytes."""
    import torch

    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(data).hexdigest()}"


def arrays_of(file: Mapping[str, np.ndarray]) -> RowArrays:
    """The arrays that `np.savez` has numbered, in their order."""
    return tuple(file[f"arr_{place}"] for place in range(len(file)))


def slice_arrays(rows: RowArrays, start: int, stop: int, length: int | None) -> RowArrays:
    """Some rows; of texts and sequences the first `length` steps, with zeros where there are fewer."""
    first, *others = (array[start:stop] for array in rows)
    if length is not None:
        missing = max(0, length - first.shape[1])
        first = np.pad(first[:, :length], [(0, 0), (0, missing), *[(0, 0)] * (first.ndim - 2)])
    return first, *others


def seconds_a_row(run: Callable[[RowArrays], np.ndarray], row: RowArrays) -> float:
    """The median time of a call with one row."""
    times = []
    for _ in range(WARM + TIMED):
        begun = time.perf_counter()
        run(row)
        times.append(time.perf_counter() - begun)
    return sorted(times[WARM:])[TIMED // 2]


def main(folder: Path) -> None:
    """Do the task of a folder."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    path, kind, names = task["file"], task["format"], task["names"]
    if kind not in ("onnx", "pt2"):
        found = {name: tensor_digest(tensor) for name, tensor in file_tensors(path, kind).items()}
        (folder / "done.json").write_text(json.dumps({"tensors": found}), encoding="utf-8")
        return
    run = {"onnx": run_onnx, "pt2": run_pt2}[kind](path, names)
    with np.load(folder / "rows.npz") as file:
        rows = arrays_of(file)
    seconds = seconds_a_row(run, slice_arrays(rows, 0, 1, None))
    batches = list(task["compared"])
    whole = seconds * len(rows[0]) <= task["patience"]
    batches += task["measured"] if whole else []
    np.savez(folder / "answers.npz", *(run(slice_arrays(rows, *each)) for each in batches))
    (folder / "done.json").write_text(json.dumps({"seconds": seconds, "whole": whole}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
