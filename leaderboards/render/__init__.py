"""A table as Markdown, CSV, LaTeX, JSON and one HTML page."""
