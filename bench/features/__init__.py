"""From pixels to features: readouts, the content-addressed store, live and stored sources."""
