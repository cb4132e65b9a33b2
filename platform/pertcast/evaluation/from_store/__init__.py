"""What a store's held-out rows say: conditions, controls, replicates, cells, and everybody's forecasts."""
