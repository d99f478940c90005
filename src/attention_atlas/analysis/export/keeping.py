"""A file whose errors are kept until they are asked for."""

import io
from pathlib import Path
from typing import Any


class Keeping(io.FileIO):
    """A file that HDF5 writes to, which takes everything and keeps the first error to itself.

    HDF5 does not give up a file that cannot be written, as on a full disk: it keeps what is left,
    writes it again when the program ends, and crashes. So this file says that all is well, drops
    what comes after the first error, and `check` raises it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+b")
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of the content, in several parts where the system takes no more at once."""
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while self.error is None and len(left):
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Make the file as long as this."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def check(self) -> None:
        """Raise the first error that there was, if there was one."""
        if self.error is not None:
            raise self.error
