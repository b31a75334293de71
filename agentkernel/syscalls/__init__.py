"""What models may ask of the kernel: the table of tools, who may use them, and what they do."""
