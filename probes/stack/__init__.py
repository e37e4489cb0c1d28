"""Many heads, trained and scored as one stack."""
