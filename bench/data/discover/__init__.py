"""Find a data set in whatever layout the user has."""
