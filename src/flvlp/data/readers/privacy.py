"""Keeps what an error says of a credentialed data set to what may be shown."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_details(hides: bool, message: str, error: type[Exception] = ValueError) -> Iterator[None]:
    """Raises an error of the block anew with `message` alone, where ids are hidden.

    For errors of parts that know nothing of privacy: what a table's header is (a file without one has a row of ids in
    its place), which name a list has, which folder may not be opened.

    Args:
        hides: False lets the error through.
        message: names the file and what is right.
        error: what is replaced.

    Raises:
        error: with `message`; a traceback does not show the first error, which holds the details.
    """
    try:
        yield
    except error:
        if not hides:
            raise
        raise error(f"{message}; dataset.log_ids=true says more") from None
