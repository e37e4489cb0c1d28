"""Classifiers on frozen features, one file each."""
