"""What predicted profiles know of genes: who moves with whom, who belongs together."""
