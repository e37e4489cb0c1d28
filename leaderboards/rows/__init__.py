"""From records and published numbers to the rows of a table."""
