"""Compare two records."""
