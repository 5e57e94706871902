"""What tests ask of processes that they start."""

import os


def group_lives(group: int) -> bool:
    """Returns whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
