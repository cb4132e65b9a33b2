"""What could be reached: replicates, the noise-free truth, and skill between baseline and ceiling."""
