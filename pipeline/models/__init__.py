"""Networks: one family a file. Each has `encode(x)`, the latent, and `head(z)`, the outputs."""
