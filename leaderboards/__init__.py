"""Tables, one file each."""
