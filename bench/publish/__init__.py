"""What leaves the house: boards, papers' numbers, bundles, hub cards."""
