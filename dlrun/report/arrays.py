"""Arrays of numbers and texts by name in one .npz file, which is read within bounds and never unpickled."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.bounded import MOST_BYTES, read_bytes
from dlrun.store.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Write the arrays, atomically. Equal arrays give equal files."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; none if it is missing, damaged, or larger than is read, packed or unpacked."""
    import numpy as np

    try:
        data = io.BytesIO(read_bytes(path))
        with zipfile.ZipFile(data) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MOST_BYTES:
                return {}
        with np.load(data, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return {}
