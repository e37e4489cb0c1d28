"""Many runs as one job: label efficiency, filling a board, tracking a pretraining, the demo."""
