"""Verify every chunk of an atlas: it exists, can be decoded, and matches its digest."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from attention_atlas.atlas.locations import DRAFT, Location
from attention_atlas.atlas.schema import MAP_DTYPES, METADATA, AtlasAttributes, array_specs
from attention_atlas.atlas.storage.array_reader import DamagedChunkError, Numbers, StoredArray
from attention_atlas.atlas.storage.codecs import array_digest, chunk_digest
from attention_atlas.atlas.storage.files import Files
from attention_atlas.atlas.storage.group_reader import GroupReader
from attention_atlas.errors import InputError


@dataclass
class Verification:
    """Result of a verification; `str()` formats it.

    Attributes:
        location: Location of the atlas.
        num_chunks: Number of chunks read.
        damages: One message for each damaged chunk or array, which names a sample.
        without_digests: Groups of ranks without digests, where chunks that were replaced by
            other valid chunks are not noticed.
    """

    location: Location
    num_chunks: int = 0
    damages: list[str] = field(default_factory=list)
    without_digests: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether no damage was found."""
        return not self.damages

    def __str__(self) -> str:
        if self.damages:
            lines = [f"The atlas {self.location} is damaged:", *self.damages]
        else:
            state = "there and decode" if self.without_digests else "as written"
            lines = [f"All {self.num_chunks} chunks of {self.location} are {state}."]
        if self.without_digests:
            lines.append(
                f"{', '.join(self.without_digests)} has no digests, so that only missing chunks "
                "and those that cannot be decoded are found."
            )
        return "\n".join(lines)


def verify(
    location: Location, files: Files, ranks: list[GroupReader], attributes: AtlasAttributes
) -> Verification:
    """Verify every chunk of all ranks.

    Unknown arrays, such as those of a later version, and files of other programs are ignored.
    """
    found = Verification(location)
    names = sorted(array_specs(attributes, MAP_DTYPES[0]))
    for rank in ranks:
        if not rank.digests:
            found.without_digests.append(rank.name)
        for name in names if rank.committed_rows else ():
            _verify_array(found, files, rank, name, rank.digests.get(name))
    return found


def _verify_array(
    found: Verification, files: Files, rank: GroupReader, name: str, digest: str | None
) -> None:
    """Verify every chunk of an array."""
    try:
        array = rank.array(name)
    except InputError:
        found.damages.append(
            f"{rank.name}/{name} cannot be read, because its {METADATA} is broken."
        )
        return
    if array is None:
        found.damages.append(f"{rank.name}/{name} is missing.")
        return
    wanted = dict(_wanted(rank, array))
    names = files.names(array.key) if digest else []
    stored = {key for key in names if key.startswith("c.") and not key.endswith(DRAFT)}
    digests: dict[str, str] = {}
    is_damaged = False
    for key in sorted(wanted.keys() | stored):
        (content,) = files.read([f"{array.key}/{key}"])
        found.num_chunks += 1
        if content is not None and digest:
            digests[key] = chunk_digest(content)
        try:
            array.decode(key, content)
        except DamagedChunkError as error:
            is_damaged = True
            of_sample = f" of the sample {wanted[key]!r}" if key in wanted else ""
            found.damages.append(f"{rank.name}/{name}{of_sample} {error}.")
    if digest and not is_damaged and array_digest(digests) != digest:
        found.damages.append(
            f"{rank.name}/{name} is not as it was written, though all of its chunks can be "
            "decoded: its digest differs, so that any sample may be changed."
        )


def _wanted(rank: GroupReader, array: StoredArray) -> Iterator[tuple[str, str]]:
    """Yield the key of each chunk that a committed row needs, with the first such sample."""
    seen: set[Numbers] = set()
    name = array.key.rpartition("/")[2]
    for row in rank.committed_rows:
        try:
            if name == "maps" and not rank.read("has_maps", row):
                continue
            region = rank.region(array, row)
        except InputError:  # the array with the size is damaged, and reported by itself
            continue
        for numbers in array.chunks_of(region):
            if numbers not in seen:
                seen.add(numbers)
                yield array.chunk_key(numbers), rank.sample_ids[row]
