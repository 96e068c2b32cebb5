"""What `equigrid init` writes: a search space and parts of one's own, to be changed."""
