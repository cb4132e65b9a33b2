"""The mean displacement of cells by a set of perturbations, solved in closed form from condition means."""
