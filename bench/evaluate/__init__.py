"""One run in six steps, from a configuration to its record."""
