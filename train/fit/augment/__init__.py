"""Random changes of training images. Evaluation images are never changed: they are those of the device."""
