"""Find a data set in whatever layout its user holds it."""
