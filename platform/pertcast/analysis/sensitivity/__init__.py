"""Tables of drug sensitivity: reading them, and finding their drugs and cell lines in a store."""
