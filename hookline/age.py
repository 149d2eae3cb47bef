"""A time as a person says it."""


def age_text(seconds: float) -> str:
    """A time as an operator says it: `45 s`, `12 min`, `3.5 h`, `2 d`."""
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.3g} {unit}"
    return f"{seconds:.0f} s"
