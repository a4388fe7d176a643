"""One module per operation: the public function, and its checks of types."""
