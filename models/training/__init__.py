"""How the built-in models are made: corpus, tokenizer, training, export, evaluation."""
