"""What makes a program of the scripts. Nobody has to read it to learn segmentation."""

from .runtime import startup  # noqa: F401  (first, whatever is imported of it: TensorFlow is loud)
