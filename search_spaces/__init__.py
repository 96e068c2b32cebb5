"""The search spaces that come with equigrid: one YAML file, one experiment, one table."""
