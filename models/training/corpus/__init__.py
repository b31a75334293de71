"""The corpus: conversations written by grammars from a seed, one file for each kind of conversation."""
