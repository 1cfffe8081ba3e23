"""The nano video autoencoder, which the continuous and the discrete nano codec share."""
