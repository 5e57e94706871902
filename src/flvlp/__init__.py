"""Frontal + lateral + report pre-training of chest X-ray encoders."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flvlp.saved_encoders import load_encoders

__all__ = ["load_encoders"]


def __getattr__(name: str) -> Any:
    """Imports `load_encoders` when it is asked for, so that `import flvlp` costs nothing."""
    if name == "load_encoders":
        from flvlp.saved_encoders import load_encoders

        return load_encoders
    raise AttributeError(f"module 'flvlp' has no attribute {name!r}")
