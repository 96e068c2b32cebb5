"""Search spaces: from a YAML file to an experiment that is checked and resolved."""
