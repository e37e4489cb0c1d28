"""Render the embedded data sets."""
