"""Training: compose and render a corpus, train the autoencoder, the text encoder and the diffusion model on it."""
