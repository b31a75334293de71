"""Kernels and their engines, simulated: the kernel's own scheduler, and a clock of its own."""
