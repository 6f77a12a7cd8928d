"""Decoding of image files of any kind to 8-bit sRGB."""
