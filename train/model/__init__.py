"""The network, where its weights start from, and the checkpoint."""
