"""Exception for errors of the user, shown as a message without a traceback, and its wording."""

from collections.abc import Sequence

INPUT_ERROR_EXIT_CODE = 2


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one or two plain sentences: what is wrong, where, and what would be accepted.
    The commands print it without a traceback and end with a non-zero exit code.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback (a hook of IPython)."""
        return [str(self)]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 layer`, `2,000 layers`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def first_names(names: Sequence[str], limit: int = 12) -> str:
    """List names for a message, of many the first ones and how many more there are."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
