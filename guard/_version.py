"""The version, in the one place that hatch reads it from."""

__version__ = "0.1.0"
