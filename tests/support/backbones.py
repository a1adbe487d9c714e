"""Every backbone that the manual names, with an input size that it takes."""

BACKBONES = {
    "tf_efficientnet_lite0": 64,
    "tf_efficientnet_lite1": 64,
    "tf_efficientnet_lite2": 64,
    "efficientnet_b0": 64,
    "resnet18": 64,
    "resnet50": 64,
    "mobilenetv3_large_100": 64,
    "convnext_tiny": 64,
    "vit_tiny_patch16_224": 96,
    "swin_tiny_patch4_window7_224": 96,
    "torchvision:resnet18": 64,
    "torchvision:mobilenet_v3_small": 64,
    "torchvision:swin_t": 64,
}
"""Name -> side of the input in pixels."""
