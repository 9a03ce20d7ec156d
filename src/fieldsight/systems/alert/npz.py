"""Arrays out of ``.npy`` and ``.npz``: what the header claims is held against the bytes that are there."""

from __future__ import annotations

import math
import zipfile
from typing import IO, Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.recording import Array
from fieldsight.systems.alert.store import ARRAY_LIMIT


def read_npy(file: IO[bytes], size: int, where: str) -> Array:
    """One array of an open ``.npy`` that holds ``size`` bytes.

    Raises:
        DataError: no such array, objects inside, or a shape that needs more bytes than there are.
    """
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
        count = math.prod(shape)
        if dtype.hasobject or dtype.itemsize == 0 or count * dtype.itemsize > size or min(shape, default=0) < 0:
            raise ValueError(f"its header claims {dtype} {shape}, it has {size} bytes")
        data = file.read(count * dtype.itemsize)
        array = np.frombuffer(data, dtype=dtype, count=count)
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise DataError(f"{where} is no array that can be read: {error}.") from None
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


class Npz:
    """Arrays of an ``.npz``, each checked for its declared size before it is unpacked."""

    def __init__(self, source: Any, where: str, limit: int = ARRAY_LIMIT) -> None:
        self.where, self.limit = where, limit
        try:
            self.archive = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"{where} is no npz that can be read: {error}.") from None
        self.names = [n[:-4] for n in self.archive.namelist() if n.endswith(".npy")]

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *error: object) -> None:
        self.archive.close()

    def get(self, name: str) -> Array:
        """One array.

        Raises:
            DataError: absent, larger than the limit, holding objects, or damaged.
        """
        if name not in self.names:
            raise DataError(f"{self.where} lacks the array '{name}'; it holds: {', '.join(self.names) or 'none'}.")
        entry = self.archive.getinfo(f"{name}.npy")
        if entry.file_size > self.limit:
            raise DataError(f"{self.where}: '{name}' says it holds {entry.file_size / 2**20:.0f} MB. It is not read.")
        try:
            file = self.archive.open(entry)
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{self.where}: '{name}' is damaged: {error}.") from None
        with file:
            return read_npy(file, entry.file_size, f"{self.where}: '{name}'")
