"""The response model: what a type does on average, the own gene, and a process over genes and types."""
