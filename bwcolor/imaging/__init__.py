"""Pixels and nothing else: color spaces, gamut, sizes, borders, metrics. NumPy and OpenCV only."""
