"""Weights & Biases, TensorBoard, CSV and images on disk, set up alike for every run."""
