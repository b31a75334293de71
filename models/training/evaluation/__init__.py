"""Evaluation: held-out prompts, what the shipped GGUF answers to them through llama.cpp, and the report."""
