"""Image files: proof that a frame is whole, decoding, EXIF, resizing and scene features."""
