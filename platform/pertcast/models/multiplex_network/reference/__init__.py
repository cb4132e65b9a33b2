"""The published recipe (TranscriptionNet, arXiv 2403.02724), its faults corrected: a model to compare with.

Written from the paper's description; where it leaves something open, the docstring says what was chosen.
"""
