"""What an experiment wants, what its workspace has, and what is missing."""
