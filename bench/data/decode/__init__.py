"""From media files to frames, in processes that may fail."""
