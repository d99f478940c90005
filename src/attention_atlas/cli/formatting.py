"""Numbers in words for people: shares, sizes, ages."""


def percent(share: float) -> str:
    """`0.875` as `87.50 %`."""
    return f"{100 * share:.2f} %"


def p_in_words(p_value: float) -> str:
    """`0.0123` as `0.012`, and `0.0001` as `< 0.001`: no chance is nothing."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def size_in_words(size: int) -> str:
    """A number of bytes with a unit."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size / 2**10:.1f} KiB"


def age_in_words(seconds: int) -> str:
    """A time that has passed, in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def in_words(value: object) -> str:
    """A plain value of a config or a result."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(in_words(item) for item in value) or "none"
    return str(value)
