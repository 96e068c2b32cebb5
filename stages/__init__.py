"""The five stages, in order: data_build, augment_cache, grid, final_runs, tables."""
