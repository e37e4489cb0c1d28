"""Speed against a plain implementation and against the machine, as ratios in one run."""
