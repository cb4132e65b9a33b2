"""Files of gene sets: the one parser of GMT, and what a file holds before anything is tested with it."""
