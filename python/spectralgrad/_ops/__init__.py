"""One module per operation: its Python face and how it is batched."""
