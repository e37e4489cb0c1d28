"""What encoders compute."""
