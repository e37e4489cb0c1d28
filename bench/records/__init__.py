"""The record of a run: its schema, its files and its rows."""
