"""The stores: where rows lie."""
