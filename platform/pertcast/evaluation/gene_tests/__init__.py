"""Which genes truly respond: Wilcoxon tests of cells, moderated t statistics, corrections."""
