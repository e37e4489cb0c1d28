"""One file per command of `bench`; `main` puts them together."""
