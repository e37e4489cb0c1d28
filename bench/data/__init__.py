"""From annotation files to pixels: manifests, clip plans, decoding, transforms, loading."""
