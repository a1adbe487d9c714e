"""The network, its pretrained weights, and the checkpoint."""
