"""A recipe that trains a network of a few thousand weights in seconds."""

TINY = """
weights = "none"
[data]
split = "location"
folds = 2
[input]
size_px = 48
[network]
backbone = "test_efficientnet"
[augment]
view_scale = [0.8, 1.0]
[optimiser]
epochs = 2
warmup_epochs = 0
batch = 12
lr = 2e-3
"""
