"""How checkpoint files are read."""
