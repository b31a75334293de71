"""What outlives the kernel: a log of what became of every process, and what it gave out, in one file."""
