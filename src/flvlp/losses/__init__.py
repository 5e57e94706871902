"""One file a term. Losses hold no parameters and log nothing: tensors in, a scalar out."""
