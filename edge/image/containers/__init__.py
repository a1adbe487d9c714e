"""What files are made of, before any pixel: segments of a JPEG, chunks of PNG and WebP, directories of a TIFF."""
