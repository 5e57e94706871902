"""Checks of configured values, with errors that name the key. Imports nothing heavy."""

SEEDS = "[0, 4294967296)"  # what NumPy, Python and PyTorch all take


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ValueError` naming the key and the valid choices when `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{key}: unknown choice {value!r}; choose one of: {', '.join(choices)}")


def check_range(key: str, value: float, interval: str, advice: str = "") -> None:
    """Raises `ValueError` naming the key when a number lies outside of an interval; NaN lies outside of all.

    Args:
        key: as on the command line.
        value: what was given.
        interval: as in mathematics, `(0, 1]`; an open end at `inf` keeps infinity out.
        advice: why, or what to do, for the end of the message.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    is_above = value >= low if interval[0] == "[" else value > low
    is_below = value <= high if interval[-1] == "]" else value < high
    if not (is_above and is_below):
        raise ValueError(f"{key}: must lie in {interval}, got {value}" + (f"; {advice}" if advice else ""))


def check_fields(config: object, section: str, interval: str, *names: str, advice: str = "") -> None:
    """Applies `check_range` to fields of a dataclass, whose keys are `<section>.<name>` (`<name>` without section).

    None, where the type of the field allows it, is not looked at.
    """
    for name in names:
        value, is_optional = getattr(config, name), getattr(type(config), name, 0) is None
        if value is not None:
            key = f"{section}.{name}" if section else name
            check_range(key, value, interval, advice or ("or give null" if is_optional else ""))
