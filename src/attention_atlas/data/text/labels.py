"""Labels that are not classes: lists, numbers of a regression, and labels of tokens."""

from collections.abc import Sequence

from attention_atlas.errors import InputError

SEPARATORS = "|;,"
MANY_CLASSES = 20
ROWS_PER_CLASS = 10  # about as many as a class needs to be divided into three splits
SUPPORTED = "one class a row is supported"


def check_labels(names: Sequence[str], texts: Sequence[str], where: str) -> None:
    """Check that labels are names of classes, one for each text.

    Args:
        names: Label of each row, without blanks around it.
        texts: Text of each row.
        where: The file and the column, for the message.

    Raises:
        InputError: They are several labels a row, labels of tokens, or numbers of a regression.
    """
    if any(" " in name for name in names) and all(map(_is_per_word, names, texts)):
        raise InputError(
            f"{where} has a label for each word, such as {_short(names[0])}; labels of tokens are "
            f"not supported, {SUPPORTED}."
        )
    classes = set(names)
    several = next((name for name in names if _is_several(name, classes)), None)
    if several is not None:
        raise InputError(
            f"{where} has several labels in one row, such as {_short(several)}; {SUPPORTED}. Make "
            "a file for each label, or one class of each combination."
        )
    if len(classes) > MANY_CLASSES and all(map(_is_number, classes)):
        is_whole = all(float(name).is_integer() for name in classes)
        if len(names) < ROWS_PER_CLASS * len(classes) or not is_whole:
            raise InputError(
                f"{where} has {len(classes)} different numbers in {len(names)} rows; numbers as "
                f"labels of a regression are not supported, {SUPPORTED}. Divide them into a few "
                "ranges, such as low and high."
            )


def _is_per_word(name: str, text: str) -> bool:
    return len(name.split()) == len(text.split())


def _is_several(name: str, classes: set[str]) -> bool:
    """Whether a label is a list, or is made of other labels with a separator between them."""
    enclosed = len(name) > 1 and name[0] + name[-1]
    if enclosed in ("[]", "{}") or (enclosed == "()" and "," in name):
        return True
    for separator in SEPARATORS:
        parts = [part.strip() for part in name.split(separator)]
        if len(parts) > 1 and all(part in classes for part in parts):
            return True
    return False


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return "n" not in name.lower()  # nan, inf


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")
