"""Media files, frame folders and archive members, and the digests of what they hold."""
