"""Rows that are person boxes on key frames."""
