"""Losses: the task's, and the regular-representation loss on the latent."""
