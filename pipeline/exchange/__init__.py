"""Records and bundles leave a workspace, and join another."""
