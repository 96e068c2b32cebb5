"""What the commands other than `run` do; they print nothing themselves."""
