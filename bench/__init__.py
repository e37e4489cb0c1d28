"""Evaluate frozen video and image encoders."""

__version__ = "0.1.0"
