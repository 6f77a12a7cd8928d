"""From an image file of any kind to 8-bit sRGB."""
