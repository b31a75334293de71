"""A kernel for language-model processes."""

__version__ = "0.1.0"
