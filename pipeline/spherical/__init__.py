"""Functions on the sphere: their harmonics, rotations, and products that rotations respect."""
