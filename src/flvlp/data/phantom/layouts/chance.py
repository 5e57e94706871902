"""Ids, ages, dates and choices that derive from the seed and a number alone.

Each is a hash of its key, not the next draw of a generator: what is written of one study does not depend on how many
others are written, or in which order.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
Key = str | int


def whole(*key: Key) -> int:
    """Returns 64 bits that depend on the key alone."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())


def share(*key: Key) -> float:
    """Returns a number in [0, 1), even over keys."""
    return whole(*key) / 2**64


def pick(options: Sequence[T], *key: Key) -> T:
    """Returns one of the options, each as often; one listed twice is picked twice as often."""
    return options[whole(*key) % len(options)]


def hexadecimal(digits: int, *key: Key) -> str:
    """Returns up to 128 hexadecimal digits."""
    return blake2b(repr(key).encode()).hexdigest()[:digits]


def uuid(*key: Key) -> str:
    """Returns an identifier of the form of a random UUID (version 4)."""
    text = hexadecimal(32, "uuid", *key)
    text = f"{text[:12]}4{text[13:16]}{'89ab'[int(text[16], 16) % 4]}{text[17:]}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def is_turn(number: int, every: tuple[int, int]) -> bool:
    """Says whether `number` is the which-th (from 0) of its run, for (length of a run, which).

    What is unusual in a data set comes in turns and not by chance, so that a small stand-in has it too.
    """
    length, which = every
    return number % length == which


def permuted(number: int, *key: Key, size: int = 10_000_000) -> int:
    """Returns a number below `size` (a power of ten); different for different `number` below `size`."""
    # The factor has no divisor in common with ten, so that this is a permutation.
    return (number * 7_368_787 + whole("permuted", *key)) % size


def age(seed: int, patient: int, visit: int) -> int:
    """Returns the age of a patient at a visit, in years."""
    return 19 + int(71 * share(seed, "age", patient)) + visit


def sex(seed: int, patient: int) -> str:
    """Returns `F` or `M`."""
    return "F" if share(seed, "sex", patient) < 0.46 else "M"
