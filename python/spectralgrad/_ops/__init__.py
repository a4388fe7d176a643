"""One module per operation: the public function, its checks of types, and its registration for vmap."""
