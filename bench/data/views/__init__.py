"""Which frames and pixels an encoder sees of a sample."""
