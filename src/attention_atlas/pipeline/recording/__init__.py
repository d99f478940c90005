"""What a run records of its model, and how."""
