"""Format numbers for people: percentages, sizes, ages."""


def percent(fraction: float) -> str:
    """Format `0.875` as `87.50 %`."""
    return f"{100 * fraction:.2f} %"


def format_p_value(p_value: float) -> str:
    """Format `0.0123` as `0.012`, and `0.0001` as `< 0.001`, never as 0."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def format_size(size: int) -> str:
    """Format a number of bytes with a unit."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size / 2**10:.1f} KiB"


def format_age(seconds: int) -> str:
    """Format an elapsed time in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def format_value(value: object) -> str:
    """Format a plain value of a config or a result."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(format_value(item) for item in value) or "none"
    return str(value)
