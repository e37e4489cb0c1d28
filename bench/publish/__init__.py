"""Publishing: boards, papers' numbers, bundles, hub cards."""
