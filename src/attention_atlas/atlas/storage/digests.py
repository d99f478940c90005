"""Digests of the arrays of a rank's group, kept in its attribute `digests` by array name.

The digest of an array is the SHA-256 of one line for each stored chunk, in the order of the keys
within the array's folder: the key, a blank, the SHA-256 of the stored bytes in hexadecimal, a line
feed.
"""

import hashlib
from collections.abc import Mapping

ATTRIBUTE = "digests"


def chunk_digest(content: bytes) -> str:
    """Return the digest of the stored bytes of one chunk."""
    return hashlib.sha256(content).hexdigest()


def array_digest(chunks: Mapping[str, str]) -> str:
    """Return the digest of an array from those of its chunks, by keys such as `c.0.0`."""
    lines = (f"{key} {chunks[key]}\n" for key in sorted(chunks))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
