"""Looking inside: what a training did, and what a trained network does."""
