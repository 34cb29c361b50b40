"""Format counts and durations."""


def duration(seconds: float) -> str:
    """A duration: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 trial, 2 trials."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
