"""The product: a network rewritten for inference, as one file, proved equal to the network."""
