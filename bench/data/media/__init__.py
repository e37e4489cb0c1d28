"""Media files, frame folders and archive members, and digests of their content."""
