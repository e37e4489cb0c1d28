"""Before a run: how a configuration is spelled, and whether the data are there."""
