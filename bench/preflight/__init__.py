"""Before a run: normalise the configuration and check the data."""
