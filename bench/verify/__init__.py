"""Verify records against their own files and against other records."""
