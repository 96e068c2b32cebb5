"""Raw sources, dataset builders and the HDF5 files between them and training."""
