"""Annotation files as their data sets publish them."""
