"""One process or many, here or on a cluster."""
