"""The report of a screen of any size: what it is made from, its figures and its sections."""
