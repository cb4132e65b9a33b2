"""What the numbers of a file are, and whether they keep what their normalisation promises."""
